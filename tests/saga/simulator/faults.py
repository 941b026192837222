"""How one call of a step can go wrong, and which steps can be refused for what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

ERROR: Final = "error"
"""Trouble that passes, before the step took effect."""
LOST: Final = "lost"
"""The step takes effect, its answer is lost."""
AWAY: Final = "away"
"""This call and the seven after it fail: long enough to raise attention."""
TIMEOUT: Final = "timeout"
"""No answer in time, and no effect."""
LATE: Final = "late"
"""The step takes effect, its answer comes after the time is over."""
REFUSE: Final = "refuse="
"""Refused by name, once: whoever asks again gets through."""
BAR: Final = "bar="
"""Refused by name until a person has done the step's work by hand."""

AWAY_CALLS: Final = 8
NO_ANSWER: Final = frozenset({LOST, LATE})
"""The step takes effect, and its workflow does not know."""

REFUSALS: Final[Mapping[str, Sequence[str]]] = {
    "quote": ("PRODUCT_NOT_FOUND", "PRODUCT_INACTIVE", "CURRENCY_MISMATCH", "PRICE_CHANGED", "PAYMENT_REJECTED"),
    "reserve": ("OUT_OF_STOCK", "RESERVATION_RELEASED", "RESERVATION_DIFFERS"),
    "open_payment": ("PAYMENT_REJECTED", "PAYMENT_VOIDED", "PAYMENT_DIFFERS"),
    "mark_pending": ("ORDER_NOT_FOUND",),
    "check_payment": ("PAYMENT_NOT_FOUND",),
    "close_payment": ("PAYMENT_NOT_FOUND",),
    "commit": ("RESERVATION_NOT_FOUND", "RESERVATION_RELEASED"),
    "read_order": ("ORDER_NOT_FOUND",),
    "release": ("RESERVATION_COMMITTED",),
    "mark": ("ORDER_NOT_FOUND",),
}
"""By step of an order, in the order of its saga; one that a saga has no answer to parks it."""
CAN_BE_DONE_BY_HAND: Final = frozenset({"release"})


def faults_of(step: str, *, of_an_order: bool) -> list[str]:
    """Every way in which a step can go wrong."""
    refusals = REFUSALS.get(step, ()) if of_an_order else ()
    bars = refusals if step in CAN_BE_DONE_BY_HAND else ()
    return [
        ERROR,
        LOST,
        AWAY,
        TIMEOUT,
        LATE,
        *(f"{REFUSE}{refusal}" for refusal in refusals),
        *(f"{BAR}{refusal}" for refusal in bars),
    ]
