"""What a process says of itself, on a port of its own: ``/livez``, ``/readyz`` and ``/metrics``.

A process that answers lives. It is ready when each of its parts can do its job; what a part does without for now is in
the body, and takes nobody out of a load balancer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Final

import msgspec
import structlog

from runtime.health import Health, Report
from runtime.http_server import http_server
from runtime.measuring import Measurements
from runtime.metrics import CONTENT_TYPE, PART_DEGRADED, PART_READY, render_metrics
from runtime.sdk_metrics import read_sdk_metrics
from runtime.settings import Settings, SettingsError

log = structlog.stdlib.get_logger(__name__)

_JSON: Final = "application/json"


@asynccontextmanager
async def probe_server(
    settings: Settings, parts: Mapping[str, Health], measurements: Iterable[Measurements] = ()
) -> AsyncIterator[None]:
    """Answer probes as long as the context is open, if the settings name a port.

    Args:
        settings: of the process.
        parts: how each of its parts is.
        measurements: what they have to ask for when metrics are read.

    Raises:
        SettingsError: the port is taken.
    """
    if settings.probe_port is None:
        yield
        return
    where = f"{settings.probe_host}:{settings.probe_port}"
    server = http_server(Probes(parts, measurements), host=settings.probe_host, port=settings.probe_port, grace=1)
    try:
        await server.__aenter__()
    except OSError as error:
        raise SettingsError(f"ORDERSAGA_PROBE_PORT: cannot listen on {where}: {error.strerror}") from error
    log.info("probes.served", host=settings.probe_host, port=settings.probe_port)
    try:
        yield
    finally:
        await server.__aexit__(None, None, None)


class Probes:
    """The application, as ASGI has it."""

    def __init__(self, parts: Mapping[str, Health], measurements: Iterable[Measurements] = ()) -> None:
        self._parts = parts
        self._measurements = tuple(measurements)

    async def __call__(self, scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        if scope["method"] not in ("GET", "HEAD"):
            await _refuse_method(scope["method"], send)
            return
        status, content_type, body = await self._answer(scope["path"])
        headers = [(b"content-type", content_type.encode()), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, path: str) -> tuple[int, str, bytes]:
        match path:
            case "/livez":
                return HTTPStatus.OK, _JSON, b'{"alive":true}'
            case "/readyz":
                return await self._readiness()
            case "/metrics":
                return HTTPStatus.OK, CONTENT_TYPE, await self._metrics()
        return HTTPStatus.NOT_FOUND, _JSON, b'{"error":"there are /livez, /readyz and /metrics"}'

    async def _readiness(self) -> tuple[int, str, bytes]:
        reports = await self._reports()
        ready = all(report.ready for report in reports.values())
        body = msgspec.json.encode({"ready": ready, "parts": reports})
        return HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE, _JSON, body

    async def _reports(self) -> Mapping[str, Report]:
        answers = await asyncio.gather(*(health.report() for health in self._parts.values()))
        return dict(zip(self._parts, answers, strict=True))

    async def _measure(self) -> None:
        await asyncio.gather(*(measurements.refresh() for measurements in self._measurements))

    async def _metrics(self) -> bytes:
        """Whatever is away, what is known is shown."""
        reports, sdk, _ = await asyncio.gather(self._reports(), read_sdk_metrics(), self._measure())
        for part, report in reports.items():
            PART_READY.labels(part).set(report.ready)
            PART_DEGRADED.labels(part).set(len(report.degraded))
        return render_metrics() + sdk


async def _refuse_method(method: str, send: Any) -> None:
    """Say what can be done here; OPTIONS asks for no more than that."""
    status = HTTPStatus.NO_CONTENT if method == "OPTIONS" else HTTPStatus.METHOD_NOT_ALLOWED
    headers = [(b"allow", b"GET, HEAD, OPTIONS")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _live(receive: Any, send: Any) -> None:
    """Take part in the server's own start and stop (ASGI's lifespan)."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
