"""The words in which the Temporal Web UI shows what an order waits for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from temporalio import workflow

from domain.payments import PaymentStatus
from domain.saga import PaymentState
from workflows import web_ui
from workflows.payment_decision import Awaited, PaymentTerms, Wait

DEADLINE: Final = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
TERMS: Final = PaymentTerms(
    amount=2_500, currency="EUR", deadline=DEADLINE, max_attempts=3, event_timeout=timedelta(seconds=5)
)


def wait_for(awaited: Awaited) -> Wait:
    return Wait(until=DEADLINE, awaited=awaited, ending=None)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The current details, as they were set."""
    details: list[str] = []
    monkeypatch.setattr(workflow, "set_current_details", details.append)
    return details


@pytest.mark.parametrize(
    ("awaited", "label"),
    [
        (Awaited.PAYMENT, "waits for the payment of 25.00 EUR until 2026-11-22 12:00:00 UTC"),
        (Awaited.EVENT, "waits for the event that confirms the payment of 25.00 EUR"),
        (Awaited.SETTLEMENT, "waits for the outcome of the payment of 25.00 EUR, which is being processed"),
    ],
)
def test_a_wait_is_labelled_by_what_is_awaited(awaited: Awaited, label: str) -> None:
    assert web_ui.label_wait(TERMS, wait_for(awaited)) == label


@pytest.mark.parametrize(
    ("awaited", "status", "failed_attempts", "parts"),
    [
        (
            Awaited.PAYMENT,
            PaymentStatus.REQUIRES_PAYMENT_METHOD,
            1,
            ["to pay **25.00 EUR** until **2026-11-22 12:00:00 UTC**", "Declined so far: 1 of 3 attempts."],
        ),
        (Awaited.PAYMENT, PaymentStatus.REQUIRES_ACTION, 0, ["confirm the payment with their bank.\n"]),
        (Awaited.EVENT, PaymentStatus.SUCCEEDED, 0, ["waiting for the payment provider's signed event"]),
        (Awaited.SETTLEMENT, PaymentStatus.PROCESSING, 2, ["cannot be cancelled any more"]),
    ],
)
def test_a_waiting_order_says_what_it_waits_for(
    awaited: Awaited, status: PaymentStatus, failed_attempts: int, parts: list[str], shown: list[str]
) -> None:
    payment = PaymentState(
        payment_id="payment-1", status=status, amount_received=0, currency="EUR", failed_attempts=failed_attempts
    )

    web_ui.show_waiting(TERMS, payment, wait_for(awaited))

    [text] = shown
    assert text.startswith("**PENDING**: ")
    assert [part for part in parts if part not in text] == []
    assert text.endswith(f"\n\nPayment `payment-1`, status {status}")
