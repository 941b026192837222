"""Where everything of a running stack is: `var/endpoints.json` (design §9)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Self

import msgspec


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who can sign in."""

    email: str
    password: str


class Endpoints(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses of a running stack.

    Attributes:
        grpc: service to its host:port.
        postgres: service to its database, as its owner.
        accounts: role to the account that the stack made for it.
        processes: component or server to pid; components that share a process share it. Of a process that was started
            again it is the new one as soon as that is ready.
    """

    gateway: str
    temporal: str
    temporal_ui: str
    kafka: str
    stripe: str
    smtp: str
    mailbox: str
    grpc: Mapping[str, str]
    postgres: Mapping[str, str]
    accounts: Mapping[str, Account]
    processes: Mapping[str, int]

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """What a stack has written; None where there is nothing, or nothing that fits."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def to_json(self) -> str:
        """As `var/endpoints.json` holds it."""
        return msgspec.json.format(msgspec.json.encode(self)).decode() + "\n"
