"""Which of our components share which Python process of the embedded stack."""

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
    """Decides what a process waits for at the start, and when it is stopped."""

    DOUBLE = "double"
    SERVICE = "service"
    WORKER = "worker"


GRACE: Final = {Tier.DOUBLE: 2.0, Tier.SERVICE: 3.0, Tier.WORKER: 2.0}
"""Seconds from SIGTERM to SIGKILL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Components that share a process."""

    name: str
    components: tuple[str, ...]
    tier: Tier

    @property
    def is_held(self) -> bool:
        """Whether it imports at once, and runs when what it needs is ready."""
        return self.tier is not Tier.DOUBLE


GROUPED: Final = (
    Group(name="doubles", components=("stripe-double", "mail-sink"), tier=Tier.DOUBLE),
    Group(
        name="services",
        components=("user", "product", "inventory", "order", "payment", "notification", "relay", "gateway"),
        tier=Tier.SERVICE,
    ),
    Group(name="order-worker", components=("order-worker",), tier=Tier.WORKER),
)
"""Few processes: most of a start is imports, which the components of one process share."""

SPLIT: Final = tuple(
    Group(name=name, components=(name,), tier=group.tier) for group in GROUPED for name in group.components
)
"""One process per component, as production has it."""


def group_command(group: Group, *, logs: Path, environment: Mapping[str, str]) -> Command:
    """The command that runs a group's process."""
    held = ("--held",) if group.is_held else ()
    return Command(
        name=group.name,
        arguments=[sys.executable, "-m", "cli.main", "serve", *held, *group.components],
        log=logs / f"{group.name}.log",
        environment=environment,
        folder=ROOT,
        grace=GRACE[group.tier],
        held=group.is_held,
    )


def setup_command(*, logs: Path, environment: Mapping[str, str], email: str, password: str) -> Command:
    """The command that migrates all databases and makes the first admin; held, so that it can import meanwhile."""
    return Command(
        name="setup",
        arguments=[sys.executable, "-m", "cli.main", "setup", "databases", "admin", "--held"],
        log=logs / "setup.log",
        environment={**environment, "ORDERSAGA_ADMIN_EMAIL": email, "ORDERSAGA_ADMIN_PASSWORD": password},
        folder=ROOT,
        held=True,
    )
