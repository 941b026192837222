"""The reference's worker, in a process of its own like the order worker."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from types import TracebackType
from typing import Self


class BareWorker:
    """Runs `bench.bare_saga` as long as the context is open."""

    def __init__(self, temporal: str) -> None:
        self._temporal = temporal
        self._process: Process | None = None
        self._waiting: dict[str, asyncio.Event] = {}
        self._listening: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """The process that runs it."""
        return self._running().pid

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.bare_saga", self._temporal),
            stdin=PIPE,
            stdout=PIPE,
            start_new_session=True,  # Ctrl-C is for us: this one ends with its standard input
        )
        await self._lines().readline()
        self._listening = asyncio.create_task(self._listen())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._running()
        if process.stdin is not None:
            process.stdin.close()
        await process.wait()

    async def waits(self, workflow_id: str) -> None:
        """Return once the saga is about to wait for its signal."""
        await self._event(workflow_id).wait()
        del self._waiting[workflow_id]

    async def _listen(self) -> None:
        while line := await self._lines().readline():
            self._event(line.decode().strip()).set()

    def _event(self, workflow_id: str) -> asyncio.Event:
        return self._waiting.setdefault(workflow_id, asyncio.Event())

    def _lines(self) -> asyncio.StreamReader:
        lines = self._running().stdout
        assert lines is not None  # noqa: S101 - a pipe, as asked for
        return lines

    def _running(self) -> Process:
        assert self._process is not None, "used outside its context"  # noqa: S101 - a slip of ours, not an input
        return self._process
