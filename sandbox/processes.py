"""Which of our parts run together in which Python process of the embedded stack."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from sandbox.child import Command

ROOT: Final = Path(__file__).parents[1]
"""Where Python finds our packages."""


class Tier(Enum):
    """What a process is to the others: what it needs to start, and when it stops."""

    DOUBLE = "double"
    SERVICE = "service"
    WORKER = "worker"


GRACE: Final = {Tier.DOUBLE: 2.0, Tier.SERVICE: 3.0, Tier.WORKER: 2.0}
"""Seconds from SIGTERM to SIGKILL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Parts that share a process."""

    name: str
    parts: tuple[str, ...]
    tier: Tier

    @property
    def is_held(self) -> bool:
        """Whether it imports at once, and runs when the servers that it needs are ready."""
        return self.tier is not Tier.DOUBLE


GROUPED: Final = (
    Group(name="doubles", parts=("stripe-double", "mail-sink"), tier=Tier.DOUBLE),
    Group(
        name="services",
        parts=("user", "product", "inventory", "order", "payment", "notification", "relay", "gateway"),
        tier=Tier.SERVICE,
    ),
    Group(name="order-worker", parts=("order-worker",), tier=Tier.WORKER),
)
"""Few processes: most of a start is imports, which parts of one process share."""

SPLIT: Final = tuple(Group(name=part, parts=(part,), tier=group.tier) for group in GROUPED for part in group.parts)
"""One process per part, as production has it."""


def group_command(group: Group, *, logs: Path, environment: Mapping[str, str]) -> Command:
    """How a group's process is run."""
    held = ("--held",) if group.is_held else ()
    return Command(
        name=group.name,
        arguments=[sys.executable, "-m", "cli.components", *held, *group.parts],
        log=logs / f"{group.name}.log",
        environment=environment,
        folder=ROOT,
        grace=GRACE[group.tier],
        held=group.is_held,
    )


def setup_command(*, logs: Path, environment: Mapping[str, str], email: str, password: str) -> Command:
    """How all databases are migrated and the first admin is made; held, while it imports."""
    return Command(
        name="setup",
        arguments=[sys.executable, "-m", "cli.main", "setup", "--held"],
        log=logs / "setup.log",
        environment={**environment, "ORDERSAGA_ADMIN_EMAIL": email, "ORDERSAGA_ADMIN_PASSWORD": password},
        folder=ROOT,
        held=True,
    )
