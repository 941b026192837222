"""How a process of ours lives: it runs one or more parts, says when they are ready, and stops them in order.

A part is an async function ``run(settings, life)``. It starts what it owns, calls ``life.ready()``, waits for
``life.stopping`` and returns once everything it started has stopped. Readiness is told by the sd_notify protocol
(``READY=1`` to the datagram socket in ``NOTIFY_SOCKET``), which systemd and our embedded stack both understand.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping

import structlog
import uvloop

from runtime.logs import configure_logging
from runtime.metrics import serve_metrics
from runtime.settings import Settings, SettingsError

log = structlog.stdlib.get_logger(__name__)


class Lifecycle:
    """One part's view of its process: tells readiness, learns that it is time to stop."""

    def __init__(self, stopping: asyncio.Event) -> None:
        self.stopping = stopping
        self.started = asyncio.Event()

    def ready(self) -> None:
        """Say that the part can do its work."""
        self.started.set()


ComponentRunner = Callable[[Settings, Lifecycle], Awaitable[None]]


def run_process(parts: Mapping[str, ComponentRunner]) -> None:
    """Run the parts in one event loop until SIGTERM or SIGINT, then exit.

    Exits with 0 after a clean stop, 1 when a part failed, 2 when a setting does not fit. The exit skips
    interpreter finalization: a process that ran a Temporal worker can crash there after all its work is done.
    """
    try:
        settings = Settings.load()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    configure_logging(settings.log_level)
    try:
        serve_metrics(settings)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    code = uvloop.run(_run_all(parts, settings))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


async def _run_all(parts: Mapping[str, ComponentRunner], settings: Settings) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    code = 0
    async with asyncio.TaskGroup() as group:
        lifecycles = [Lifecycle(stopping) for _ in parts]
        tasks = [
            group.create_task(_run_part(name, run, settings, lifecycle))
            for (name, run), lifecycle in zip(parts.items(), lifecycles, strict=True)
        ]
        ready = group.create_task(_tell_when_ready(lifecycles))
        for task in asyncio.as_completed(tasks):
            code = max(code, await task)
            stopping.set()
        ready.cancel()
    return code


async def _run_part(name: str, run: ComponentRunner, settings: Settings, lifecycle: Lifecycle) -> int:
    try:
        await run(settings, lifecycle)
    except SettingsError as error:
        log.error("part.settings", part=name, problem=str(error))
        return 2
    except Exception:  # the border of the process: whatever it was is logged, and every other part is stopped
        log.exception("part.failed", part=name)
        return 1
    if not lifecycle.stopping.is_set():
        log.error("part.ended_early", part=name)
        return 1
    log.info("part.stopped", part=name)
    return 0


async def _tell_when_ready(lifecycles: list[Lifecycle]) -> None:
    for lifecycle in lifecycles:
        await lifecycle.started.wait()
    log.info("process.ready")
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(b"READY=1", address.replace("@", "\0", 1))
