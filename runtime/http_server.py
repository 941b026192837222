"""An HTTP server inside a process of ours: listens when entered, has answered what it took when left."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import uvicorn

from runtime.http_limits import INTERNAL_LIMITS, HttpLimits, room_for
from runtime.http_protocol import BoundedProtocol
from runtime.http_room import Room

_SWEEP_TICKS: Final = 5
"""Of 0.1 s, from one look at whose time is up to the next."""


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


class _BoundedServer(ComponentServer):
    """One that closes connections whose time is up."""

    def __init__(self, config: uvicorn.Config, room: Room) -> None:
        super().__init__(config)
        self._room = room

    async def on_tick(self, counter: int) -> bool:
        if counter % _SWEEP_TICKS == 0:
            self._room.end_overdue(asyncio.get_running_loop().time())
        return await super().on_tick(counter)


@asynccontextmanager
async def http_server(
    app: Any,
    *,
    host: str,
    port: int,
    grace: float,
    limits: HttpLimits = INTERNAL_LIMITS,
    rejection_headers: Mapping[str, str] = MappingProxyType({}),
    is_draining: Callable[[], bool] = lambda: False,
) -> AsyncIterator[None]:
    """Serve the application as long as the context is open.

    Args:
        app: what answers: an ASGI application.
        host: address to bind.
        port: port to bind.
        grace: seconds that running requests get at the end.
        limits: what clients may do.
        rejection_headers: of the answers that the server gives by itself to who does more.
        is_draining: whether the end is near: then each answer is its connection's last, so that clients go elsewhere.

    Raises:
        OSError: the port is taken.
    """
    room = Room(room_for(limits.connections))
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # uvicorn would believe whoever connects from this machine
        ws="none",
        http=partial(  # type: ignore[arg-type]  # called
            BoundedProtocol,
            limits=limits,
            room=room,
            rejection_headers=b"".join(f"{name}: {value}\r\n".encode() for name, value in rejection_headers.items()),
            is_draining=is_draining,
        ),
        timeout_keep_alive=math.ceil(limits.idle_timeout),
        lifespan="on",
        timeout_graceful_shutdown=math.ceil(grace),
    )
    server = _BoundedServer(config, room)
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
