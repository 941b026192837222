"""An HTTP server inside a process of ours: listens when entered, has answered what it took when left."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import uvicorn

KEEP_ALIVE_SECONDS: Final = 75
"""How long an idle connection stays open: longer than a load balancer's 60 s, so that it is the one who closes."""


class ComponentServer(uvicorn.Server):
    """Uvicorn in a process of ours: it leaves signals to the process, and has an event for when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def http_server(app: Any, *, host: str, port: int, grace: float) -> AsyncIterator[None]:
    """Serve the application as long as the context is open.

    Args:
        app: what answers: an ASGI application.
        host: address to bind.
        port: port to bind.
        grace: seconds that running requests get at the end.

    Raises:
        OSError: the port is taken.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        http="httptools",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        lifespan="on",
        timeout_graceful_shutdown=math.ceil(grace),
    )
    server = ComponentServer(config)
    serving = asyncio.create_task(server.serve(sockets=[_bind(host=host, port=port)]))
    listening = asyncio.create_task(server.listening.wait())
    await asyncio.wait({serving, listening}, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        listening.cancel()
        await serving
    try:
        yield
    finally:
        server.should_exit = True
        await serving


def _bind(*, host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound
