"""Which port each listener of the embedded stack has."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from runtime.settings import SettingsError
from sandbox.errors import PortsTakenError, StackError
from sandbox.settings import SandboxSettings, port_setting
from sandbox.temporal_config import TemporalConfig

HOST = "127.0.0.1"

# Below the range that Linux and macOS hand to outgoing connections: a port from there could be taken by one of our own
# clients between choosing it and listening on it.
FREE_RANGE = range(12_000, 32_000)
BLOCK = 20

POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """A TCP port on 127.0.0.1 per listener."""

    gateway: int
    order: int
    payment: int
    notification: int
    inventory: int
    product: int
    user: int
    temporal: int
    temporal_ui: int
    kafka: int
    postgres: int
    stripe: int
    smtp: int
    mailbox: int

    @classmethod
    def load(cls) -> Ports:
        """The fixed ports of `make up`, as the settings have them; Temporal's defaults are in `temporal-dev.yaml`.

        Raises:
            SettingsError: a port's setting does not fit, or two listeners have the same port.
        """
        settings, temporal = SandboxSettings.load(), TemporalConfig.load()
        chosen = {field.name: getattr(settings, f"{field.name}_port") for field in fields(cls)}
        ports = {"temporal": temporal.port, "temporal_ui": temporal.ui_port}
        ports |= {listener: port for listener, port in chosen.items() if port is not None}
        _refuse_shared(ports)
        return cls(**ports)

    @classmethod
    def free(cls) -> Ports:
        """Ports that nothing listens on. Stacks that start at the same time never get the same ones.

        Raises:
            StackError: there are none.
        """
        names = [field.name for field in fields(cls)]
        return cls(**dict(zip(names, free_ports(len(names)), strict=True)))

    def check(self) -> None:
        """See that nobody listens on them.

        Raises:
            PortsTakenError: names each taken port, the listener that wants it, and the setting that moves it.
        """
        taken = {listener: port for listener, port in asdict(self).items() if not _is_free(port)}
        if taken:
            raise PortsTakenError(taken)


def _refuse_shared(ports: dict[str, int]) -> None:
    listeners: dict[int, str] = {}
    for listener, port in ports.items():
        other = listeners.setdefault(port, listener)
        if other != listener:
            raise SettingsError(f"{port_setting(other)} and {port_setting(listener)}: both are {port}")


def free_ports(count: int) -> Sequence[int]:
    """So many ports, fewer than `BLOCK`, that nothing listens on, and that nobody else is given while we run.

    Raises:
        StackError: there are none.
    """
    starts = list(FREE_RANGE[::BLOCK])
    random.shuffle(starts)
    for start in starts:
        ports = range(start + 1, start + 1 + count)
        if _claim(start) and all(_is_free(port) for port in ports):
            return ports
    raise StackError(f"No {BLOCK} free ports in a row between {FREE_RANGE.start} and {FREE_RANGE.stop}.")


def free_port() -> int:
    """One port that nothing listens on, for a single server that starts now."""
    return free_ports(1)[0]


def address(port: int) -> str:
    """``host:port`` of a listener of ours."""
    return f"{HOST}:{port}"


async def wait_until_listening(port: int) -> None:
    """Return once somebody accepts connections on the port; the caller sets the limit."""
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
    """Hold a port until this process ends, to mark its block as in use."""
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
