"""HTTP as bytes on a socket: for what no client library would send."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from tests.support.busy_machine import slowdown

TIMEOUT = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A response as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> str:
        """The last part of the problem's URN."""
        assert self.headers["content-type"] == "application/problem+json"
        problem: dict[str, Any] = msgspec.json.decode(self.body)
        assert problem["status"] == self.status
        return str(problem["type"]).removeprefix("urn:ordersaga:problem:")


class RawClient:
    """One connection; what it is opened with has been sent before the server can look at it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, data: bytes) -> None:
        """Send it without waiting."""
        self._writer.write(data)

    async def send_until_closed(self, data: bytes) -> None:
        """Send it as fast as the server takes it, as long as it does."""
        try:
            for start in range(0, len(data), 65_536):
                self._writer.write(data[start : start + 65_536])
                await self._writer.drain()
        except ConnectionError:
            pass

    async def answer(self) -> Answer:
        """The next response, past any interim one."""
        async with asyncio.timeout(TIMEOUT * slowdown()):
            status_line, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().rstrip().split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            status = int(status_line.split()[1])
            body = await self._reader.readexactly(int(headers.get("content-length", 0))) if status >= 200 else b""
        return Answer(status=status, headers=headers, body=body)

    async def read(self, size: int) -> bool:
        """Read so much of what comes, and throw it away; false if the server closes before."""
        try:
            await self._reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError):
            return False
        return True

    async def rest(self) -> bytes:
        """All that comes until the server closes; a reset is an end, too."""
        received = bytearray()
        async with asyncio.timeout(TIMEOUT * slowdown()):
            while piece := await self._read():
                received += piece
        return bytes(received)

    async def _read(self) -> bytes:
        try:
            return await self._reader.read(65_536)
        except ConnectionError:
            return b""

    def pause(self) -> None:
        """Read nothing from now on."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport can

    def has_heard(self) -> bool:
        """Whether the server has said something, or closed."""
        return bool(self._reader._buffer) or self._reader.at_eof()  # type: ignore[attr-defined]  # what is not read yet


@asynccontextmanager
async def connected(port: int, sending: bytes = b"") -> AsyncIterator[RawClient]:
    """A connection to a server on this machine."""
    raw = socket.create_connection(("127.0.0.1", port))
    raw.sendall(sending)
    reader, writer = await asyncio.open_connection(sock=raw)
    try:
        yield RawClient(reader, writer)
    finally:
        writer.transport.abort()
