"""A name server on this machine, which knows the addresses of parts that run several times."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from typing import Any, Final, cast

from sandbox.ports import HOST

_HEADER_BYTES: Final = 12
_ADDRESS: Final = 1
"""The type of a question and of a record: an IPv4 address (A)."""


class NameServer(asyncio.DatagramProtocol):
    """Answers questions for addresses (RFC 1035) over UDP.

    Attributes:
        addresses: what is answered by now, name to IPv4 addresses; of any other name there are none.
        port: where it listens.
    """

    def __init__(self) -> None:
        self.addresses: dict[str, Collection[str]] = {}
        self.port = 0
        self._transport: asyncio.DatagramTransport | None = None

    def target(self, name: str, port: int) -> str:
        """What gRPC calls to reach all of a name's addresses, as it asks this server for them."""
        return f"dns://{HOST}:{self.port}/{name}:{port}"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast("asyncio.DatagramTransport", transport)
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, address: Any) -> None:
        """Called by asyncio with a question."""
        if self._transport is not None:
            self._transport.sendto(self._answer(data), address)

    def _answer(self, query: bytes) -> bytes:
        """A question for A gets our addresses, any other one none."""
        end = query.index(b"\0", _HEADER_BYTES)
        name, question = _read_name(query[_HEADER_BYTES:end]), query[_HEADER_BYTES : end + 5]
        kind = struct.unpack("!H", question[-4:-2])[0]
        answers = self.addresses.get(name, ()) if kind == _ADDRESS else ()
        records = b"".join(
            struct.pack("!HHHIH", 0xC00C, _ADDRESS, 1, 0, 4) + IPv4Address(answer).packed for answer in answers
        )
        return query[:2] + struct.pack("!HHHHH", 0x8180, 1, len(answers), 0, 0) + question + records


@asynccontextmanager
async def name_server() -> AsyncIterator[NameServer]:
    """One that runs as long as the context is open."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(NameServer, local_addr=(HOST, 0))
    try:
        yield server
    finally:
        transport.close()


def _read_name(labels: bytes) -> str:
    found, at = [], 0
    while at < len(labels):
        length = labels[at]
        found.append(labels[at + 1 : at + 1 + length].decode().lower())
        at += 1 + length
    return ".".join(found)
