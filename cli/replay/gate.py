"""Replays one history after the other on the workflow code as it is, in the SDK's sandbox."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from types import TracebackType
from typing import Final, Self

from temporalio.client import WorkflowHistory
from temporalio.converter import DataConverter
from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter
from temporalio.worker import Replayer, WorkflowReplayResult

from cli.replay.histories import Source
from cli.replay.recording import RecordingRunner
from cli.replay.verdict import Outcome, Verdict, judge
from workers.order_worker import workflow_runner
from workers.queues import WORKFLOWS

LONGEST: Final = 30.0
"""Seconds for one history: a replay takes milliseconds, and the SDK waits for ever on some that go wrong."""
_CLOSE: Final = 5.0

_WORKFLOW_NAMES: Final = frozenset(getattr(kind, "__temporal_workflow_definition").name for kind in WORKFLOWS)


class Gate:
    """An async context manager.

    Args:
        converter: reads what is in the histories.
    """

    def __init__(self, converter: DataConverter) -> None:
        logging.getLogger("temporalio").setLevel(logging.CRITICAL)  # what diverges is reported once, by us
        quiet = TelemetryConfig(logging=LoggingConfig(filter=TelemetryFilter(core_level="OFF", other_level="OFF")))
        self._converter = converter
        self._runner = RecordingRunner(workflow_runner(sandbox=True))
        self._replayer = Replayer(
            workflows=WORKFLOWS,
            workflow_runner=self._runner,
            data_converter=converter,
            runtime=Runtime(telemetry=quiet),
        )
        self._stack = AsyncExitStack()
        self._histories: asyncio.Queue[WorkflowHistory | None] = asyncio.Queue()
        self._results: AsyncIterator[WorkflowReplayResult] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def replay(self, source: Source) -> Outcome:
        """What becomes of one history; no two at a time."""
        history = source.history()
        kind = history.events[0].workflow_execution_started_event_attributes.workflow_type.name
        if kind not in _WORKFLOW_NAMES:
            return Outcome(
                source.name, Verdict.DIFFERS, 1, [f"event 1: a {kind} starts; this code has no such workflow"]
            )
        self._runner.begin()
        try:
            failure = await self._run(history)
        except TimeoutError:
            await self._close()
            why = f"the replay has not ended within {LONGEST:.0f} s"
            return Outcome(source.name, Verdict.UNKNOWN, history.events[-1].event_id, [why])
        return await judge(source.name, history.events, self._runner.recording, failure, self._converter)

    async def _run(self, history: WorkflowHistory) -> Exception | None:
        if self._results is None:
            # one for all histories: making its worker, and loading the code into the sandbox, takes longest
            self._histories = asyncio.Queue()
            opened = self._replayer.workflow_replay_iterator(_drain(self._histories))
            self._results = await self._stack.enter_async_context(opened)
        self._histories.put_nowait(history)
        return (await asyncio.wait_for(anext(self._results), LONGEST)).replay_failure

    async def _close(self) -> None:
        if self._results is not None:
            self._histories.put_nowait(None)
            self._results = None
            with suppress(TimeoutError):  # what hangs is left behind
                await asyncio.wait_for(self._stack.aclose(), _CLOSE)


async def _drain(queue: asyncio.Queue[WorkflowHistory | None]) -> AsyncIterator[WorkflowHistory]:
    while (history := await queue.get()) is not None:
        yield history
