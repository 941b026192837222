"""Where everything of a running stack is: `var/endpoints.json` (design §9)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Self

import msgspec

from runtime.settings import Settings
from runtime.temporal import connect_options
from sandbox.ports import Ports, address
from sandbox.postgres.databases import SERVICES


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who can sign in."""

    email: str
    password: str


class Endpoints(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses of a running stack.

    Attributes:
        temporal_ui: empty where Temporal is external.
        grpc: service to its host:port.
        postgres: service to its database, as its owner.
        probes: component to where its process answers /livez, /readyz and /metrics.
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
    probes: Mapping[str, str]
    accounts: Mapping[str, Account]
    processes: Mapping[str, int]

    @classmethod
    def of(
        cls,
        settings: Settings,
        ports: Ports,
        *,
        probes: Mapping[str, int],
        accounts: Mapping[str, Account],
        processes: Mapping[str, int],
    ) -> Self:
        """Of a stack with these settings on these ports. What may be external is where the settings say."""
        temporal = connect_options(settings)["target_host"]
        return cls(
            gateway=f"http://{address(ports.gateway)}",
            temporal=temporal,
            temporal_ui=f"http://{address(ports.temporal_ui)}" if temporal == address(ports.temporal) else "",
            kafka=settings.kafka_bootstrap,
            stripe=f"http://{address(ports.stripe)}",
            smtp=f"{settings.smtp_host}:{settings.smtp_port}",
            mailbox=f"http://{address(ports.mailbox)}",
            grpc={service: address(getattr(ports, service)) for service in SERVICES},
            postgres={service: settings.required(f"{service}_dsn") for service in SERVICES},
            probes={name: f"http://{address(port)}" for name, port in probes.items()},
            accounts=accounts,
            processes=processes,
        )

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
