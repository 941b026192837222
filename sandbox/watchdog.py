"""Keeps one process of ours running: starts it, and starts it again when it dies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runtime.backoff import Backoff, Retries
from sandbox.child import Child, Command
from sandbox.errors import ChildDiedError, NotReadyError

READY_SECONDS: Final = 120.0
START_SECONDS: Final = 150.0
"""Limit for what a process depends on; each of those has a limit of its own, so this is never the first to pass."""

BACKOFF: Final = Backoff(first=0.5, longest=10.0)
HEALTHY_SECONDS: Final = 30.0
"""A death after so long is a first failure again."""
MAX_FAILED_STARTS: Final = 5
"""After so many starts in a row without becoming ready, the process is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Died:
    """A process has died or not become ready, and will be started again.

    Attributes:
        how: what became of it, such as "was ended by SIGKILL".
        attempt: number of the next start, counted since it was last healthy for a while.
        delay: seconds until then.
    """

    name: str
    how: str
    attempt: int
    delay: float

    def __str__(self) -> str:
        return f"{self.name} {self.how}; starting it again in {self.delay:g} s (attempt {self.attempt})."


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyAgain:
    """A process that had died is back."""

    name: str
    pid: int

    def __str__(self) -> str:
        return f"{self.name} is ready again, as process {self.pid}."


Update = Died | ReadyAgain
Failure = ChildDiedError | NotReadyError


class Watchdog:
    """One process of ours.

    One that never becomes ready fails the start; one that dies later is started again after a delay, or, without
    `restart`, fails at once.
    """

    def __init__(
        self,
        command: Command,
        *,
        notify_socket: Path,
        restart: bool,
        on_update: Callable[[Update], None],
        on_failure: Callable[[Failure], None],
    ) -> None:
        """Describe it; nothing runs yet.

        Args:
            command: what to run.
            notify_socket: where it reports its readiness.
            restart: whether it is started again when it dies.
            on_update: called for each death that is followed by another start, and each such start that succeeded.
            on_failure: called once, when there will not be another start.
        """
        self._command = command
        self._notify_socket = notify_socket
        self._restart = restart
        self._on_update = on_update
        self._on_failure = on_failure
        self._child: Child | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """The process that was started last."""
        if self._child is None:
            raise ValueError(f"{self._command.name} has not been started")
        return self._child.pid

    async def start(self, dependencies: Sequence[asyncio.Task[None]]) -> None:
        """Start it, release it when its dependencies are ready, return when it is ready itself.

        Raises:
            ChildDiedError: it ended.
            NotReadyError: it took too long.
        """
        child = self._child = await Child.start(self._command, notify_socket=self._notify_socket)
        await child.wait_for(_all_done(dependencies), within=START_SECONDS)
        await self._release(child)
        self._watch = asyncio.create_task(self._supervise(child))

    async def stop(self) -> None:
        """Stop it for good."""
        await self._stop_watching()
        if self._child is not None:
            await self._child.stop()

    async def take_down(self) -> None:
        """Kill it, and leave it so until `bring_back`."""
        await self._stop_watching()
        if self._child is not None:
            await self._child.kill()

    async def bring_back(self) -> None:
        """Start it after `take_down`; return when it is ready.

        Raises:
            ChildDiedError: it ended.
            NotReadyError: it took too long.
        """
        self._watch = asyncio.create_task(self._supervise(await self._start_again()))

    async def _stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)

    async def _release(self, child: Child) -> None:
        child.release()
        await child.wait_until_ready(within=READY_SECONDS)

    async def _supervise(self, child: Child) -> None:
        loop = asyncio.get_running_loop()
        retries = Retries(BACKOFF)
        while True:
            ready_at = loop.time()
            await child.wait()
            if loop.time() - ready_at >= HEALTHY_SECONDS:
                retries.succeeded()
            failure: Failure = child.death()
            for _ in range(MAX_FAILED_STARTS if self._restart else 0):
                delay = retries.failed()
                self._on_update(Died(name=failure.name, how=failure.how, attempt=retries.failures, delay=delay))
                await asyncio.sleep(delay)
                try:
                    child = await self._start_again()
                except (ChildDiedError, NotReadyError) as error:
                    failure = error
                else:
                    break
            else:
                self._on_failure(failure)
                return
            self._on_update(ReadyAgain(name=self._command.name, pid=child.pid))

    async def _start_again(self) -> Child:
        if self._child is not None:
            await self._child.stop()  # the one before may still run: not ready, and given up
        child = self._child = await Child.start(self._command, notify_socket=self._notify_socket, append_log=True)
        await self._release(child)
        return child


async def _all_done(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        await asyncio.shield(task)  # being cancelled here must not cancel what others wait for, too
