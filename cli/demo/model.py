"""What the demo's shop and its customers hold in their hands."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """Something to sell, and how many there were."""

    id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """Somebody with an account."""

    email: str
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A quantity of one product."""

    product_id: str
    quantity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One arrow of an order's history."""

    to: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedOrder:
    """An order as the gateway shows it."""

    id: str
    status: str
    reason: str | None
    client_secret: str | None
    payment_id: str | None
    transitions: list[Transition]


@dataclass(frozen=True, slots=True)
class Money:
    """What an order's payment brought in, and what of it went back, in minor units."""

    received: int = 0
    refunded: int = 0


NO_MONEY: Final = Money()


def to_order(answer: dict[str, Any]) -> PlacedOrder:
    """The order in an answer of the gateway."""
    return PlacedOrder(
        id=answer["id"],
        status=answer["status"],
        reason=answer["reason"],
        client_secret=answer["client_secret"],
        payment_id=answer["payment_id"],
        transitions=[Transition(to=row["to"], at=datetime.fromisoformat(row["at"])) for row in answer["transitions"]],
    )
