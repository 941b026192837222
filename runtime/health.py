"""Whether a part can do its job: what it needs for that, what it can do without, and how both are right now."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Final

CHECK_SECONDS: Final = 2.0
"""What a check gets, before that it gives no answer is the answer."""
_FRESH: Final = 1.0
"""Seconds for which an answer is given again: whoever asks often costs no more."""

Check = Callable[[], Awaitable[str | None]]
"""Why something cannot be used, in words; None when it can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How a part is.

    Attributes:
        ready: whether it can do its job.
        problems: what keeps it from that, by name.
        degraded: what it does without for now, by name.
    """

    ready: bool
    problems: Mapping[str, str]
    degraded: Mapping[str, str]


class Health:
    """What one part needs and uses."""

    def __init__(self) -> None:
        self._needs: dict[str, Check] = {}
        self._uses: dict[str, Check] = {}
        self._report: tuple[float, Report] | None = None
        self._asking = asyncio.Lock()
        self.has_started = False
        self.is_stopping = False

    def need(self, name: str, check: Check) -> None:
        """Without this the part cannot do its job."""
        self._needs[name] = check

    def use(self, name: str, check: Check) -> None:
        """Without this the part does what it can."""
        self._uses[name] = check

    async def report(self) -> Report:
        """How the part is; at most `_FRESH` seconds old."""
        async with self._asking:
            if self._report is None or monotonic() - self._report[0] > _FRESH:
                self._report = monotonic(), await self._look()
        report = self._report[1]
        if self.is_stopping:
            return Report(ready=False, problems={**report.problems, "process": "it stops"}, degraded=report.degraded)
        if not self.has_started:
            return Report(ready=False, problems={**report.problems, "process": "it starts"}, degraded=report.degraded)
        return report

    async def _look(self) -> Report:
        problems, degraded = await asyncio.gather(_ask(self._needs), _ask(self._uses))
        return Report(ready=not problems, problems=problems, degraded=degraded)


async def _ask(checks: Mapping[str, Check]) -> Mapping[str, str]:
    """What is wrong, by name."""
    answers = await asyncio.gather(*map(_answer, checks.values()))
    return {name: problem for name, problem in zip(checks, answers, strict=True) if problem is not None}


async def _answer(check: Check) -> str | None:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await check()
    except TimeoutError:
        return f"no answer within {CHECK_SECONDS:.0f} s"
    except Exception as error:  # a check that breaks is no reason to be ready
        return f"{type(error).__name__}: {error}"
