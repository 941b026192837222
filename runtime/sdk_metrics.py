"""What the Temporal SDK counts of its workers and clients, on the port where a process shows its own metrics.

The SDK's core serves them over HTTP itself. Fed into Python instead, one update at a time (`MetricBuffer`), they would
cost four times as much CPU (docs/decisions/0016). So the core serves them on a port of the loopback interface, which is
read when somebody scrapes the process.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:  # a process without a Temporal client need not import it
    from temporalio.runtime import Runtime

log = structlog.stdlib.get_logger(__name__)

_HOST: Final = "127.0.0.1"
_LIMIT: Final = 2.0
"""Seconds that the core may take to answer."""
_ATTEMPTS: Final = 5
"""Free ports that are tried."""
_ports: Final[list[int]] = []
"""Where the core serves, once there is a runtime that does."""


@cache
def measured_runtime() -> Runtime:
    """The process's runtime of the SDK that counts; every client with it, and each worker of theirs, is counted.

    Names are as the SDK documents them (https://docs.temporal.io/references/sdk-metrics), durations in seconds.

    Raises:
        ValueError: the core could not serve them.
    """
    for _ in range(_ATTEMPTS - 1):
        with suppress(ValueError):  # somebody else was faster at the port
            return _runtime(_free_port())
    return _runtime(_free_port())


def _runtime(port: int) -> Runtime:
    from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig

    from runtime.temporal_logs import core_logging

    metrics = PrometheusConfig(
        f"{_HOST}:{port}", counters_total_suffix=True, unit_suffix=True, durations_as_seconds=True
    )
    runtime = Runtime(telemetry=TelemetryConfig(metrics=metrics, logging=core_logging()))
    _ports.append(port)
    return runtime


def _free_port() -> int:
    """The core does not say which port it got, so it cannot be left to the operating system."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
    return port


async def read_sdk_metrics() -> bytes:
    """In Prometheus's text format; nothing where no client of Temporal is, or where the core does not answer."""
    if not _ports:
        return b""
    try:
        async with asyncio.timeout(_LIMIT):
            return await _get(_ports[0])
    except (OSError, TimeoutError) as error:
        log.warning("sdk_metrics.unanswered", error=repr(error))
        return b""


async def _get(port: int) -> bytes:
    reader, writer = await asyncio.open_connection(_HOST, port)
    try:
        writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
    return body if b" 200 " in head.partition(b"\r\n")[0] else b""
