"""How an order looks at its beginning, before anything goes wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tests.doubles.stripe import Card


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What came with the order, and how long its customer has."""

    payment_method: str | None = None
    window: int = 900
    """Seconds."""


SHAPES: Final[Mapping[str, Shape]] = {
    "later": Shape(),
    "visa": Shape(payment_method=Card.VISA),
    "declined": Shape(payment_method=Card.DECLINED),
    "action": Shape(payment_method=Card.AUTHENTICATION),
    "slow": Shape(payment_method=Card.DELAYED),
    "unknown": Shape(payment_method="pm_unknown"),
    "short": Shape(window=3),
}
"""``later``: the customer pays in the browser; ``short``: the deadline passes while a step is tried again; the others
come with a payment method that behaves as they are called."""
