"""What the audit says of an order's history: its arrows, its gaps, and whether its refunds fit where it stands."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cli.audit.facts import Facts, OrderFact, TransitionFact
from cli.audit.invariants import histories_are_legal

THEN = datetime(2026, 1, 1, tzinfo=UTC)
PAID = ["RECEIVED", "PENDING", "PAID"]
PART, WHOLE = "PARTIALLY_REFUNDED", "REFUNDED"


def breaches(history: list[str], *, refunded: int = 0, status: str | None = None) -> list[str]:
    order = OrderFact(
        id="1",
        status=status or history[-1],
        seq=len(history),
        total=1_000,
        refunded=refunded,
        currency="EUR",
        created_at=THEN,
        updated_at=THEN,
        lines={},
        price=1_000,
    )
    transitions = [
        TransitionFact(
            order_id="1",
            seq=seq,
            from_status=before,
            to_status=after,
            at=THEN,
            has_outbox_row=True,
            is_published=True,
        )
        for seq, (before, after) in enumerate(zip([None, *history], history, strict=False), start=1)
    ]
    facts = Facts(
        read_at=THEN,
        orders={"1": order},
        transitions=transitions,
        reservations={},
        stock=[],
        restocks=[],
        payments={},
        refunds=[],
        disputes=[],
        waiting_events=[],
        intents={},
        runs={},
        published={},
    )
    return [breach.what for breach in histories_are_legal(facts)]


@pytest.mark.parametrize(
    ("history", "refunded"),
    [
        (PAID, 0),
        (["RECEIVED", "FAILED"], 0),
        ([*PAID, PART], 1),
        ([*PAID, PART, PART, WHOLE], 1_000),
        ([*PAID, WHOLE, PAID[-1]], 0),
        ([*PAID, WHOLE, WHOLE, WHOLE], 1_000),
        ([*PAID, WHOLE, PART, PAID[-1], WHOLE], 1_000),
    ],
)
def test_a_history_that_its_refunds_explain_is_legal(history: list[str], refunded: int) -> None:
    assert breaches(history, refunded=refunded) == []


@pytest.mark.parametrize(
    ("history", "refunded", "arrow"),
    [
        (["RECEIVED", "PENDING", PART], 1, "3 PENDING → PARTIALLY_REFUNDED"),
        (["RECEIVED", "PAID"], 0, "2 RECEIVED → PAID"),
        ([*PAID, "PAID"], 0, "4 PAID → PAID"),
        ([*PAID, PART, "CANCELLED"], 0, "5 PARTIALLY_REFUNDED → CANCELLED"),
        (["RECEIVED", "FAILED", WHOLE], 1_000, "3 FAILED → REFUNDED"),
        (["PENDING", "PAID"], 0, "1 None → PENDING"),
    ],
)
def test_an_arrow_that_nothing_leads_along_is_named(history: list[str], refunded: int, arrow: str) -> None:
    assert breaches(history, refunded=refunded) == [f"transition {arrow}"]


@pytest.mark.parametrize(
    ("history", "refunded"),
    [
        (PAID, 1),
        ([*PAID, PART], 0),
        ([*PAID, PART], 1_000),
        ([*PAID, WHOLE], 999),
        ([*PAID, WHOLE], 1_001),
        (["RECEIVED", "FAILED"], 1),
    ],
)
def test_a_sum_of_refunds_that_does_not_fit_the_status_is_named(history: list[str], refunded: int) -> None:
    assert breaches(history, refunded=refunded) == [f"{history[-1]}, but refunded {refunded} of 1000"]


def test_a_status_that_is_not_the_historys_last_is_named() -> None:
    assert breaches([*PAID, PART], refunded=1_000, status=WHOLE) == [
        "is REFUNDED, but its history ends PARTIALLY_REFUNDED"
    ]
