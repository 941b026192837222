"""uvicorn inside somebody else's event loop: no signal handlers, a known moment of readiness, connections to cut."""

from __future__ import annotations

import asyncio
from functools import partial

import uvicorn
from litestar.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from runtime.http_server import ComponentServer


class Connections:
    """The open connections by the client's address."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, int], asyncio.Transport] = {}

    def hang_up(self, client: tuple[str, int]) -> None:
        """Close a connection at once; what is written to it afterwards goes nowhere."""
        self._open[client].abort()

    def opened(self, transport: asyncio.Transport) -> None:
        """Note a connection that a client made."""
        self._open[transport.get_extra_info("peername")] = transport

    def closed(self, transport: asyncio.Transport) -> None:
        """Forget a connection."""
        self._open.pop(transport.get_extra_info("peername"), None)


class HttpServer(ComponentServer):
    """Serves an application on a listening socket until `stop`."""

    def __init__(self, app: ASGIApp, connections: Connections) -> None:
        config = uvicorn.Config(
            app,
            http=partial(_Protocol, connections),  # type: ignore[arg-type]  # uvicorn only calls it
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            # Longer than clients keep theirs, so that none is closed under a call that is on its way.
            timeout_keep_alive=75,
            timeout_graceful_shutdown=5,
        )
        super().__init__(config)

    def stop(self) -> None:
        """Make `serve` return once the calls that run have their answers."""
        self.should_exit = True


class _Protocol(H11Protocol):
    def __init__(self, open_connections: Connections, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # handed through as uvicorn gives them
        self._open_connections = open_connections

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._open_connections.opened(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._open_connections.closed(self.transport)
        super().connection_lost(exc)
