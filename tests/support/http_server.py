"""An HTTP server of ours with an application for tests, on the loop that our processes run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, Final

import uvloop
from prometheus_client import REGISTRY

from runtime.http_limits import INTERNAL_LIMITS
from runtime.http_server import http_server
from sandbox.ports import free_port

_GENEROUS: Final = replace(INTERNAL_LIMITS, head_timeout=600, body_timeout=600, idle_timeout=600)
LARGE: Final = 1 << 26
"""Bytes: more than the kernel keeps for a client that does not read."""
SHORT: Final = 1.0
"""Seconds: nothing that is to be in time has to wait for anything."""
GET: Final = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
HALF_HEAD: Final = b"GET / HTTP/1.1\r\nhost: x\r\n"
POST: Final = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n"


def on_uvloop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """The test on the loop that our processes run."""

    @wraps(test)
    def run(**arguments: Any) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(test(**arguments))

    return run


class Application:
    """Answers with the body it got: at once when the path is /early, when `go` is set when it is /later."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.begun = asyncio.Event()
        self.disconnects = 0

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """As ASGI has it."""
        if scope["type"] == "lifespan":
            while (message := await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": f"{message['type']}.complete"})
            return
        self.begun.set()
        body = b"" if scope["path"] == "/early" else await self._read(receive)
        if body is None:
            return
        if scope["path"] == "/later":
            await self.go.wait()
        if scope["path"] == "/large":
            body = bytes(LARGE)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})

    async def _read(self, receive: Any) -> bytes | None:
        body: bytes = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.disconnects += 1
                return None
            body += message["body"]
            if not message["more_body"]:
                return body


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running one; set `draining[0]` for it to drain."""

    port: int
    app: Application
    draining: list[bool]


@asynccontextmanager
async def serving_http(**limits: Any) -> AsyncIterator[Server]:
    """A server whose limits nobody meets, but for these."""
    server = Server(port=free_port(), app=Application(), draining=[False])
    async with http_server(
        server.app,
        host="127.0.0.1",
        port=server.port,
        grace=5,
        limits=replace(_GENEROUS, **limits),
        is_draining=lambda: server.draining[0],
    ):
        yield server


def rejected(reason: str) -> float:
    """How many connections were ended for this reason."""
    return REGISTRY.get_sample_value("ordersaga_http_rejected_total", {"reason": reason}) or 0
