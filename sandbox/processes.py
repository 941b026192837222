"""Which of our parts run together in which Python process of the embedded stack."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandbox.child import Command

ROOT: Final = Path(__file__).parents[1]
"""Where Python finds our packages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Parts that share a process.

    Attributes:
        grace: seconds from SIGTERM to SIGKILL.
        held: it imports at once, and runs when the servers that it needs are ready.
    """

    name: str
    parts: tuple[str, ...]
    grace: float
    held: bool


DOUBLES: Final = Group(name="doubles", parts=("stripe-double", "mail-sink"), grace=2.0, held=False)
SERVICES: Final = Group(
    name="services",
    parts=("user", "product", "inventory", "order", "payment", "notification", "relay", "gateway"),
    grace=3.0,
    held=True,
)
ORDER_WORKER: Final = Group(name="order-worker", parts=("order-worker",), grace=2.0, held=True)


def group_command(group: Group, *, logs: Path, environment: Mapping[str, str]) -> Command:
    """How a group's process is run."""
    held = ("--held",) if group.held else ()
    return Command(
        name=group.name,
        arguments=[sys.executable, "-m", "cli.parts", *held, *group.parts],
        log=logs / f"{group.name}.log",
        environment=environment,
        folder=ROOT,
        grace=group.grace,
        held=group.held,
    )


def setup_command(*, logs: Path, environment: Mapping[str, str], email: str, password: str) -> Command:
    """How all databases are migrated and the first admin is made."""
    return Command(
        name="setup",
        arguments=[sys.executable, "-m", "cli.main", "setup"],
        log=logs / "setup.log",
        environment={**environment, "ORDERSAGA_ADMIN_EMAIL": email, "ORDERSAGA_ADMIN_PASSWORD": password},
        folder=ROOT,
    )
