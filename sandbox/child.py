"""One child process of the embedded stack: with a log, known to be ready, and never outliving its parent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from sandbox.errors import ChildDiedError, NotReadyError

T = TypeVar("T")

PARENT_DEATH = Path(__file__).with_name("parent_death.py")
TAIL_LINES = 20
ESCALATION_SECONDS = 0.5
"""From `Command.escalation_signal` to SIGKILL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The user a child runs as."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run and how.

    Attributes:
        log: receives standard output and error; the one of the run before is kept as ``<name>.previous.log``.
        stop_signal: asks it to stop; it also gets this one when its parent dies.
        grace: seconds from `stop_signal` to SIGKILL, or to `escalation_signal`.
        escalation_signal: asks for an immediate end, where there is such a thing, before SIGKILL.
        held: the child waits, imports done, until `Child.release`.
    """

    name: str
    arguments: Sequence[str]
    log: Path
    environment: Mapping[str, str]
    folder: Path
    stop_signal: signal.Signals = signal.SIGTERM
    escalation_signal: signal.Signals | None = None
    grace: float = 3.0
    owner: Owner | None = None
    held: bool = False


class Child:
    """A running child process."""

    def __init__(self, command: Command, process: asyncio.subprocess.Process, readiness: socket.socket | None) -> None:
        self.command = command
        self.pid = process.pid
        self.stopping = False
        self._process = process
        self._readiness = readiness
        self._exit = asyncio.create_task(process.wait())

    @classmethod
    async def start(cls, command: Command, *, notify_socket: Path | None = None, append_log: bool = False) -> Child:
        """Start the command from the main thread (the parent-death signal is bound to the thread).

        Args:
            command: what to run.
            notify_socket: where the child reports its readiness by the sd_notify protocol, see `wait_until_ready`.
            append_log: it replaces one that has ended, and goes on in the same log file.
        """
        environment = dict(command.environment)
        readiness = None
        if notify_socket is not None:
            readiness = _bind_datagram(notify_socket)
            environment["NOTIFY_SOCKET"] = str(notify_socket)
        spawning = asyncio.create_task(_spawn(command, environment, append_log=append_log))
        try:
            process = await asyncio.shield(spawning)
        except asyncio.CancelledError:
            process = await spawning  # it runs, and nobody else would ever end it
            process.kill()
            await process.wait()
            if readiness is not None:
                readiness.close()
            raise
        return cls(command, process, readiness)

    async def wait(self) -> int:
        """Wait for the end; the exit code, negative for a signal. Being cancelled does not touch the child."""
        return await asyncio.shield(self._exit)

    async def wait_for(self, ready: Coroutine[object, object, T], *, within: float) -> T:
        """What `ready` returns, if the child runs that long.

        Raises:
            ChildDiedError: the child ended first.
            NotReadyError: `within` seconds have passed.
        """
        task = asyncio.ensure_future(ready)
        try:
            await asyncio.wait({task, self._exit}, timeout=within, return_when=asyncio.FIRST_COMPLETED)
            if self._exit.done():
                raise self.death()
            if not task.done():
                raise NotReadyError(name=self.command.name, seconds=within, log=self.command.log, tail=self.tail())
            return task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def wait_until_ready(self, *, within: float) -> None:
        """Wait until the child has reported that it is ready.

        Raises:
            ChildDiedError: it ended first.
            NotReadyError: it did not within that many seconds.
        """
        await self.wait_for(self._notification(), within=within)

    async def _notification(self) -> None:
        if self._readiness is None:
            raise ValueError(f"{self.command.name} was started without a notify socket")
        while b"READY=1" not in await asyncio.get_running_loop().sock_recv(self._readiness, 4096):
            pass

    def release(self) -> None:
        """Let a held child start its work."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    def death(self) -> ChildDiedError:
        """How a child has ended, as an error."""
        return ChildDiedError(
            name=self.command.name, code=self._exit.result(), log=self.command.log, tail=self.tail(TAIL_LINES)
        )

    def tail(self, lines: int = TAIL_LINES) -> list[str]:
        """The last lines of its log."""
        return self.command.log.read_text(errors="replace").splitlines()[-lines:]

    async def stop(self) -> None:
        """Ask it to stop, kill its process group after the grace, return when it is gone. Can be repeated."""
        self.stopping = True
        await self._signal(self.command.stop_signal, grace=self.command.grace)
        if self.command.escalation_signal is not None:
            await self._signal(self.command.escalation_signal, grace=ESCALATION_SECONDS)
        await self.kill()

    async def kill(self) -> None:
        """Kill its process group, return when it is gone. Can be repeated."""
        self.stopping = True
        if not self._exit.done():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        await self._exit
        self.release()
        if self._readiness is not None:
            self._readiness.close()
            self._readiness = None

    async def _signal(self, number: signal.Signals, *, grace: float) -> None:
        if not self._exit.done():
            with contextlib.suppress(ProcessLookupError):  # it ended by itself, and we have not heard yet
                self._process.send_signal(number)
            await asyncio.wait({self._exit}, timeout=grace)


async def run_to_completion(command: Command, *, within: float, after: Awaitable[object] | None = None) -> None:
    """Run a command that ends by itself.

    Args:
        command: what to run.
        within: limit in seconds.
        after: what a held command is released after; the limit counts from there.

    Raises:
        ChildDiedError: it failed.
        NotReadyError: it was still running after `within` seconds, and was stopped.
    """
    child = await Child.start(command)
    try:
        if after is not None:
            await after
        child.release()
        await asyncio.wait_for(child.wait(), within)
    except TimeoutError:
        raise NotReadyError(name=command.name, seconds=within, log=command.log, tail=child.tail()) from None
    finally:
        await child.stop()
    if await child.wait() != 0:
        raise child.death()


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and not just a zombie that its parent has not reaped yet."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rsplit(")", 1)[1].split()[0] != "Z"


async def _spawn(command: Command, environment: Mapping[str, str], *, append_log: bool) -> asyncio.subprocess.Process:
    owner = "-" if command.owner is None else f"{command.owner.uid}:{command.owner.gid}"
    prefix = [
        sys.executable,
        "-I",
        "-S",
        str(PARENT_DEATH),
        str(os.getpid()),
        str(int(command.stop_signal)),
        owner,
    ]
    with _open_log(command.log, append=append_log) as log:
        return await asyncio.create_subprocess_exec(
            *prefix,
            *command.arguments,
            stdin=asyncio.subprocess.PIPE if command.held else asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=command.folder,
            env=environment,
            start_new_session=True,  # a Ctrl-C at the terminal is for the supervisor, which stops in order
        )


def _open_log(log: Path, *, append: bool) -> IO[bytes]:
    log.parent.mkdir(parents=True, exist_ok=True)
    if append:
        return log.open("ab")
    if log.exists():
        log.replace(log.with_suffix(".previous.log"))
    return log.open("wb")


def _bind_datagram(path: Path) -> socket.socket:
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    bound.setblocking(False)
    path.unlink(missing_ok=True)  # of a child before this one
    bound.bind(str(path))
    return bound
