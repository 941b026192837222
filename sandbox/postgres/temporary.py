"""A fast, throw-away PostgreSQL with the services' empty databases, for tests."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

from sandbox.ports import free_port
from sandbox.postgres.databases import Databases
from sandbox.postgres.server import Postgres

MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a folder of its own is made there, as in /tmp
"""Linux's file system in memory: a copy of a database takes a tenth of the time there that it takes on a disk."""
MEMORY_NEEDED: Final = 4 << 30
"""Bytes that have to be free there; else the disk serves."""


@asynccontextmanager
async def temporary_postgres() -> AsyncIterator[Databases]:
    """Start it on a free port and a temporary folder; stop and remove it at the end.

    Raises:
        StackError: it did not start.
    """
    folder = Path(tempfile.mkdtemp(prefix="ordersaga-", dir=_memory()))
    server = Postgres(
        data=folder / "data", port=free_port(), sockets=folder, log=folder / "postgres.log", durable=False
    )
    try:
        async with server:
            yield server.databases
    finally:
        await server.remove()
        shutil.rmtree(folder, ignore_errors=True)


def _memory() -> Path | None:
    """Where there is memory for it."""
    is_usable = MEMORY.is_dir() and os.access(MEMORY, os.W_OK)
    return MEMORY if is_usable and shutil.disk_usage(MEMORY).free >= MEMORY_NEEDED else None


@contextmanager
def temporary_postgres_in_thread() -> Iterator[Databases]:
    """The same for code without an event loop, such as pytest's hooks: a thread has one for it until the end."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="temporary-postgres", daemon=True)
    thread.start()
    context = temporary_postgres()
    try:
        databases = asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result()
        try:
            yield databases
        finally:
            asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
