"""Which port each part of the embedded stack listens on."""

from __future__ import annotations

import asyncio
import random
import socket
from dataclasses import asdict, dataclass, fields

from sandbox.errors import PortsTakenError, StackError
from sandbox.temporal_config import TemporalConfig

HOST = "127.0.0.1"

# Below the range that Linux and macOS hand to outgoing connections: a port from there could be taken by one of our own
# clients between choosing it and listening on it.
FREE_RANGE = range(12_000, 32_000)
BLOCK = 20

POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """A TCP port on 127.0.0.1 per listener; the defaults are those of `make up`."""

    gateway: int = 8080
    order: int = 50051
    payment: int = 50052
    notification: int = 50053
    inventory: int = 50054
    product: int = 50055
    user: int = 50056
    temporal: int
    temporal_ui: int
    kafka: int = 9092
    postgres: int = 5433
    stripe: int = 12111
    smtp: int = 1025
    mailbox: int = 8025

    @classmethod
    def default(cls) -> Ports:
        """The fixed ports of `make up`; Temporal's two are in `temporal-dev.yaml`."""
        temporal = TemporalConfig.load()
        return cls(temporal=temporal.port, temporal_ui=temporal.ui_port)

    @classmethod
    def free(cls) -> Ports:
        """Ports that nothing listens on. Stacks that start at the same time never get the same ones.

        Raises:
            StackError: there are none.
        """
        names = [field.name for field in fields(cls)]
        starts = list(FREE_RANGE[::BLOCK])
        random.shuffle(starts)
        for start in starts:
            ports = dict(zip(names, range(start + 1, start + BLOCK), strict=False))
            if _claim(start) and all(_is_free(port) for port in ports.values()):
                return cls(**ports)
        raise StackError(f"No {BLOCK} free ports in a row between {FREE_RANGE.start} and {FREE_RANGE.stop}.")

    def check(self) -> None:
        """See that nobody listens on them.

        Raises:
            PortsTakenError: names each taken port and the part that wanted it.
        """
        taken = {part: port for part, port in asdict(self).items() if not _is_free(port)}
        if taken:
            raise PortsTakenError(taken)


def free_port() -> int:
    """One port that nothing listens on, for a single server that starts now."""
    return Ports.free().postgres


def address(port: int) -> str:
    """``host:port`` of a listener of ours."""
    return f"{HOST}:{port}"


async def until_listening(port: int) -> None:
    """Return once somebody accepts connections on the port; the caller has a limit."""
    while True:
        try:
            _, writer = await asyncio.open_connection(HOST, port)
        except ConnectionError:
            await asyncio.sleep(POLL_SECONDS)
        else:
            writer.close()
            await writer.wait_closed()
            return


def _claim(port: int) -> bool:
    """Hold a port until this process ends: the sign that its block is in use."""
    claim = socket.socket()
    try:
        claim.bind((HOST, port))
        claim.listen(1)
    except OSError:
        claim.close()
        return False
    claim.detach()
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
