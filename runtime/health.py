"""Whether a part can do its job: what it needs for that, what it can do without, and how both are right now.

What is away comes back by itself, so a part goes on without what it can do without. What was never set up
(`NotSetUp`) does not: no part is ready without it. Each check has the name of a line of `ordersaga doctor`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

import structlog

from runtime.settings import SettingsError

log = structlog.stdlib.get_logger(__name__)

CHECK_SECONDS: Final = 2.0
"""What a check gets, before that it gives no answer is the answer."""
_LOOK_AGAIN: Final = 1.0
_FRESH: Final = 1.0
"""Seconds for which an answer is given again: whoever asks often costs no more."""

Check = Callable[[], Awaitable[str | None]]
"""Why something cannot be used, in words; None when it can."""


class NotSetUp(str):
    """Why something cannot be used, where that stays so until somebody sets it up."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """What a part looks at, by name.

    Attributes:
        needs: without one of these it cannot do its job.
        uses: without these it does what it can, once they are set up.
    """

    needs: Mapping[str, Check] = field(default_factory=dict)
    uses: Mapping[str, Check] = field(default_factory=dict)


def seldom(check: Check, *, interval: float) -> Check:
    """The check, made once an `interval` of seconds: for what is not to be asked at each probe.

    One that is cut off because it takes too long is not made again sooner than any other. Who asks while it is being
    made gets the answer before it.
    """
    answer: str | None = None
    asked_at: float | None = None

    async def ask() -> str | None:
        nonlocal answer, asked_at
        if asked_at is None or monotonic() - asked_at > interval:
            asked_at = monotonic()
            try:
                answer = await check()
            except asyncio.CancelledError:
                answer = "it did not answer in time"
                raise
            except Exception:
                asked_at = None  # it has no answer to give again
                raise
        return answer

    return ask


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
    """How one part is."""

    def __init__(self) -> None:
        self._checks = Checks()
        self._report: tuple[float, Report] | None = None
        self._asking = asyncio.Lock()
        self.has_started = False
        self.is_stopping = False

    def watch(self, checks: Checks) -> None:
        """Look at these from now on."""
        self._checks = checks
        self._report = None

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
        needed, used = await asyncio.gather(ask(self._checks.needs), ask(self._checks.uses))
        missing = {name: problem for name, problem in used.items() if isinstance(problem, NotSetUp)}
        problems = {name: str(problem) for name, problem in {**needed, **missing}.items()}
        degraded = {name: problem for name, problem in used.items() if name not in missing}
        return Report(ready=not problems, problems=problems, degraded=degraded)


async def ask(checks: Mapping[str, Check], *, within: float | None = None) -> dict[str, str]:
    """What is wrong, by name. A check gets `within` seconds, else `CHECK_SECONDS`, to say so."""
    answers = await asyncio.gather(*(_answer(check, within or CHECK_SECONDS) for check in checks.values()))
    return {name: problem for name, problem in zip(checks, answers, strict=True) if problem is not None}


async def wait_for_needs(part: str, checks: Checks, stopping: asyncio.Event) -> bool:
    """Wait until the part has what it needs; false if the process is to stop before."""
    while (missing := await ask(checks.needs)) and not stopping.is_set():
        log.warning("part.not_ready", part=part, **missing)
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_AGAIN):
                await stopping.wait()
    return not stopping.is_set()


async def _answer(check: Check, seconds: float) -> str | None:
    try:
        async with asyncio.timeout(seconds):
            return await check()
    except TimeoutError:
        return f"no answer within {seconds:.0f} s"
    except SettingsError as error:
        return str(error)
    except Exception as error:  # a check that breaks is no reason to be ready
        return f"{type(error).__name__}: {error}"
