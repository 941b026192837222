"""A process of ours: it runs one or more components, reports when they are ready, and stops them in order.

A component is an async function ``run(settings, lifecycle)``. It starts what it owns, calls ``lifecycle.ready()``,
waits for ``lifecycle.stopping`` and returns once everything it started has stopped. Readiness is reported by the
sd_notify protocol (``READY=1`` to the datagram socket in ``NOTIFY_SOCKET``), which systemd and our embedded stack both
understand.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping

import structlog
import uvloop

from runtime.health import Health
from runtime.logs import configure_logging
from runtime.measuring import Measurements
from runtime.probes import probe_server
from runtime.settings import Settings, SettingsError
from runtime.tracing import exported
from runtime.work_context import component

log = structlog.stdlib.get_logger(__name__)


class Lifecycle:
    """What a component and its process signal to each other: that it is ready, and that it shall stop.

    Attributes:
        health: what the component says that it needs, and uses.
        measurements: what it has to ask somebody for when its metrics are read.
    """

    def __init__(self, stopping: asyncio.Event) -> None:
        self.stopping = stopping
        self.started = asyncio.Event()
        self.health = Health()
        self.measurements = Measurements()

    def ready(self) -> None:
        """Signal that the component has begun its work."""
        self.health.has_started = True
        self.started.set()


ComponentRunner = Callable[[Settings, Lifecycle], Awaitable[None]]


def run_process(components: Mapping[str, ComponentRunner]) -> None:
    """Run the components in one event loop until SIGTERM or SIGINT, then exit.

    Exits with 0 after a clean stop, 1 when a component failed, 2 when a setting does not fit. The exit skips
    interpreter finalization: a process that ran a Temporal worker can crash there after all its work is done.
    """
    try:
        settings = Settings.load()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    configure_logging(settings.log_level)
    try:
        with exported(settings):
            code = uvloop.run(_run_all(components, settings))
    except SettingsError as error:
        log.error("process.settings", problem=str(error))
        code = 2
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


async def _run_all(components: Mapping[str, ComponentRunner], settings: Settings) -> int:
    stopping, asked_to_stop = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_stop.set)
    lifecycles = {name: Lifecycle(stopping) for name in components}
    health = {name: lifecycle.health for name, lifecycle in lifecycles.items()}
    code = 0
    try:
        measurements = [lifecycle.measurements for lifecycle in lifecycles.values()]
        async with probe_server(settings, health, measurements), asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_run_component(name, run, settings, lifecycles[name]))
                for name, run in components.items()
            ]
            beside = [
                group.create_task(_notify_when_ready(list(lifecycles.values()))),
                group.create_task(_stop_when_asked(asked_to_stop, stopping, health.values(), settings.drain_delay)),
            ]
            for task in asyncio.as_completed(tasks):
                code = max(code, await task)
                stopping.set()
            for other in beside:
                other.cancel()
    except SettingsError as error:
        log.error("process.settings", problem=str(error))
        return 2
    return code


async def _stop_when_asked(
    asked: asyncio.Event, stopping: asyncio.Event, parts: Iterable[Health], drain_delay: float
) -> None:
    """First let everybody see that this process is not ready any more, then stop it."""
    await asked.wait()
    for health in parts:
        health.is_stopping = True
    await asyncio.sleep(drain_delay)
    stopping.set()


async def _run_component(name: str, run: ComponentRunner, settings: Settings, lifecycle: Lifecycle) -> int:
    component.set(name)
    try:
        await run(settings, lifecycle)
    except SettingsError as error:
        log.error("component.settings", component=name, problem=str(error))
        return 2
    except Exception:  # the border of the process: whatever it was is logged, and every other component is stopped
        log.exception("component.failed", component=name)
        return 1
    if not lifecycle.stopping.is_set():
        log.error("component.ended_early", component=name)
        return 1
    log.info("component.stopped", component=name)
    return 0


async def _notify_when_ready(lifecycles: list[Lifecycle]) -> None:
    for lifecycle in lifecycles:
        await lifecycle.started.wait()
    gc.collect()
    gc.freeze()  # what the start made is there to stay: a collection that looks at it again stops everybody for 0.2 s
    log.info("process.ready")
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(b"READY=1", address.replace("@", "\0", 1))
