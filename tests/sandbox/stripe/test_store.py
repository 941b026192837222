"""What a Stripe account keeps outlives it, also what version 0.1 kept."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from sandbox.stripe.endpoints import CONFIGURED_ENDPOINT
from sandbox.stripe.objects import Charge, RefundFailure, RefundStatus
from sandbox.stripe.payment_methods import PaymentMethod
from sandbox.stripe.rules.tokens import TEST_METHODS, method_of
from sandbox.stripe.store import DebitEnd, Delivery, Plan, RefundChange, Store
from tests.support.stripe_double import open_account


def test_a_folder_is_read_again(tmp_path: Path) -> None:
    with closing(Store(tmp_path)) as store:
        store.plan(Plan(subject_id="pi_1", change=DebitEnd(), due_at=2.0))

    with closing(Store(tmp_path)) as store:
        plan = store.next_plan()

    assert plan == Plan(subject_id="pi_1", change=DebitEnd(), due_at=2.0)


def test_stores_in_memory_share_nothing() -> None:
    with closing(Store()) as one, closing(Store()) as other:
        one.plan(Plan(subject_id="pi_1", change=DebitEnd(), due_at=2.0))

        assert other.next_plan() is None


@pytest.mark.parametrize("failure", [None, RefundFailure.DECLINED])
def test_plans_of_version_0_1_are_taken_over(tmp_path: Path, failure: RefundFailure | None) -> None:
    with closing(sqlite3.connect(tmp_path / "stripe.sqlite3")) as old, old:
        old.execute("CREATE TABLE plans (refund_id TEXT PRIMARY KEY, status TEXT, failure TEXT, due_at REAL)")
        old.execute("INSERT INTO plans VALUES ('re_1', 'failed', ?, 5.0)", (failure,))

    for _ in range(2):
        with closing(Store(tmp_path)) as store:
            plan = store.next_plan()

    change = RefundChange(status=RefundStatus.FAILED, failure=failure)
    assert plan == Plan(subject_id="re_1", change=change, due_at=5.0)


def test_what_an_account_shows_of_version_0_1_is_still_read(tmp_path: Path) -> None:
    """A payment method and a charge as 0.1 stored them, without the fields that came later."""
    card = {"brand": "visa", "last4": "4242", "exp_month": 12, "exp_year": 2034, "country": "US", "funding": "credit"}
    method = {"id": "pm_1", "created": 1, "livemode": False, "card": card, "type": "card"}
    charge = {
        "id": "ch_1",
        "created": 1,
        "amount": 1,
        "amount_captured": 1,
        "currency": "usd",
        "captured": True,
        "paid": True,
        "status": "succeeded",
        "payment_intent": "pi_1",
        "payment_method": "pm_1",
        "payment_method_details": {"card": card, "type": "card"},
        "outcome": {
            "network_status": "approved_by_network",
            "reason": None,
            "seller_message": "",
            "type": "authorized",
        },
        "metadata": {},
    }
    with closing(Store(tmp_path)):
        pass
    with closing(sqlite3.connect(tmp_path / "stripe.sqlite3")) as old, old:
        for noun, stored in (("PaymentMethod", method), ("charge", charge)):
            row = (stored["id"], noun, msgspec.json.encode(stored))
            old.execute("INSERT INTO objects (id, noun, created, body) VALUES (?, ?, 1, ?)", row)

    with open_account(folder=tmp_path) as account:
        shown, paid = account.get(PaymentMethod, "pm_1"), account.get(Charge, "ch_1")

    assert shown.details == paid.payment_method_details.details
    assert method_of(shown.details) is TEST_METHODS["pm_card_visa"]


def test_what_was_outstanding_in_version_0_1_is_for_the_configured_endpoint(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "stripe.sqlite3")) as old, old:
        old.execute(
            "CREATE TABLE deliveries (seq INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT NOT NULL, "
            "since REAL NOT NULL, due_at REAL NOT NULL, attempts INTEGER NOT NULL DEFAULT 0)"
        )
        old.execute("INSERT INTO deliveries (event_id, since, due_at) VALUES ('evt_1', 1.0, 2.0)")

    for _ in range(2):
        with closing(Store(tmp_path)) as store:
            outstanding = store.deliveries(limit=10)

    assert outstanding == [
        Delivery(seq=1, event_id="evt_1", endpoint_id=CONFIGURED_ENDPOINT, since=1.0, due_at=2.0, attempts=0)
    ]
