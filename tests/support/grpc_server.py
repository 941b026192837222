"""A service's gRPC server for tests, on a free port, and a channel to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import grpc.aio

from runtime.rpc_client import open_channel
from runtime.rpc_server import RpcServer

Servicer = TypeVar("Servicer")


@asynccontextmanager
async def channel_to(
    servicer: Servicer, add: Callable[[Servicer, grpc.aio.Server], None]
) -> AsyncIterator[grpc.aio.Channel]:
    """Serve while the context is open; `add` is the generated function that registers the servicer."""
    server = RpcServer("127.0.0.1:0", services=(), add=lambda server: add(servicer, server), grace=1)
    async with server, open_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel
