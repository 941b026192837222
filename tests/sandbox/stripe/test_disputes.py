"""Disputes at the Stripe double: opened by test cards or a switch, moved on by a switch, read by the official SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
import stripe

from sandbox.stripe.server import StripeDouble
from tests.support.stripe_double import API_KEY, WEBHOOK_SECRET, Account, Clock

Start = Callable[[], AbstractAsyncContextManager[Account]]
CREATED = ["charge.dispute.created", "charge.dispute.funds_withdrawn"]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Starts a double on the same folder and clock each time."""
    clock = Clock()

    @asynccontextmanager
    async def started() -> AsyncIterator[Account]:
        double = StripeDouble(
            data=tmp_path, api_key=API_KEY, webhook_secret=WEBHOOK_SECRET, webhook_url=None, clock=clock
        )
        async with double, Account.of(double, clock) as account:
            yield account

    return started


@pytest.fixture
async def account(start: Start) -> AsyncIterator[Account]:
    async with start() as started:
        yield started


async def the_dispute(account: Account, paid: stripe.PaymentIntent) -> stripe.Dispute:
    [dispute] = (await account.client.v1.disputes.list_async({"payment_intent": paid.id})).data
    return dispute


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        ("pm_card_createDispute", "fraudulent"),
        ("pm_card_createDisputeProductNotReceived", "product_not_received"),
    ],
)
async def test_a_chargeback_takes_the_money_and_forbids_refunds(account: Account, card: str, reason: str) -> None:
    paid = await account.paid(card, amount=1_000)
    dispute = await the_dispute(account, paid)

    with pytest.raises(stripe.InvalidRequestError) as refused:
        await account.refund(paid)

    assert (paid.status, (await account.charge(paid)).disputed) == ("succeeded", True)
    assert (dispute.status, dispute.reason, dispute.amount) == ("needs_response", reason, 1_000)
    assert (dispute.charge, dispute.currency, dispute.is_charge_refundable) == (paid.latest_charge, "usd", False)
    assert [moved.amount for moved in dispute.balance_transactions] == [-1_000]
    assert await account.events_of(dispute) == CREATED
    assert (refused.value.http_status, refused.value.code) == (400, "charge_disputed")


async def test_a_won_dispute_gives_the_money_back_and_allows_refunds(account: Account) -> None:
    paid = await account.paid("pm_card_createDispute", amount=1_000)
    dispute = await the_dispute(account, paid)

    await account.switch(f"disputes/{dispute.id}", status="under_review")
    await account.switch(f"disputes/{dispute.id}", status="won")

    won = await account.client.v1.disputes.retrieve_async(dispute.id)
    assert (won.status, won.is_charge_refundable) == ("won", True)
    assert [moved.amount for moved in won.balance_transactions] == [-1_000, 1_000]
    assert (await account.events_of(dispute))[2:] == [
        "charge.dispute.updated",
        "charge.dispute.updated",
        "charge.dispute.funds_reinstated",
        "charge.dispute.closed",
    ]
    assert (await account.refund(paid)).status == "succeeded"


async def test_a_lost_dispute_keeps_the_money(account: Account) -> None:
    paid = await account.paid("pm_card_createDispute")
    dispute = await the_dispute(account, paid)

    await account.switch(f"disputes/{dispute.id}", status="lost")

    lost = await account.client.v1.disputes.retrieve_async(dispute.id)
    assert (lost.status, len(lost.balance_transactions)) == ("lost", 1)
    assert (await account.events_of(dispute))[2:] == ["charge.dispute.updated", "charge.dispute.closed"]
    with pytest.raises(stripe.InvalidRequestError, match="charged back"):
        await account.refund(paid)
    again = await account.http.post(f"/_sandbox/disputes/{dispute.id}", json={"status": "won"})
    assert (again.status_code, again.json()["error"]["param"]) == (400, "status")


async def test_an_inquiry_takes_no_money_until_it_becomes_a_chargeback(account: Account) -> None:
    paid = await account.paid("pm_card_createDisputeInquiry", amount=1_000)
    inquiry = await the_dispute(account, paid)
    refunded = await account.refund(paid, amount=100)

    await account.switch(f"disputes/{inquiry.id}", status="needs_response")

    escalated = await account.client.v1.disputes.retrieve_async(inquiry.id)
    assert (inquiry.status, inquiry.is_charge_refundable) == ("warning_needs_response", True)
    assert (list(inquiry.balance_transactions), refunded.status) == ([], "succeeded")
    assert (escalated.is_charge_refundable, escalated.balance_transactions[0].amount) == (False, -1_000)
    assert await account.events_of(inquiry) == [
        "charge.dispute.created",
        "charge.dispute.updated",
        "charge.dispute.funds_withdrawn",
    ]


async def test_any_paid_charge_can_be_disputed_once(account: Account) -> None:
    paid = await account.paid("pm_card_visa", amount=1_000)
    await account.refund(paid, amount=300)

    opened = await account.switch(f"charges/{paid.latest_charge}/dispute", reason="general")
    again = await account.http.post(f"/_sandbox/charges/{paid.latest_charge}/dispute")
    unknown = await account.http.post("/_sandbox/charges/ch_nobody/dispute")

    assert (opened["amount"], opened["reason"], opened["status"]) == (700, "general", "needs_response")
    assert (again.status_code, unknown.status_code) == (400, 404)


async def test_a_chargeback_fails_the_refunds_that_are_under_way(account: Account) -> None:
    paid = await account.paid("pm_card_pendingRefund", amount=1_000)
    made = await account.refund(paid, amount=300)

    await account.switch(f"charges/{paid.latest_charge}/dispute")
    account.advance(5)

    failed = await account.client.v1.refunds.retrieve_async(made.id)
    charge = await account.charge(paid)
    assert (failed.status, failed.failure_reason) == ("failed", "charge_for_pending_refund_disputed")
    assert (charge.amount_refunded, charge.disputed) == (0, True)


async def test_disputes_are_listed_by_charge_intent_and_time(account: Account) -> None:
    first = await account.paid("pm_card_createDispute")
    account.advance(60)
    second = await account.paid("pm_card_createDispute")
    disputes = account.client.v1.disputes

    by_charge = await disputes.list_async({"charge": str(first.latest_charge)})
    recent = await disputes.list_async({"created": {"gte": int(account.clock.now)}})
    newest = await disputes.list_async({"limit": 1, "expand": ["data.charge"]})

    assert [dispute.payment_intent for dispute in by_charge.data] == [first.id]
    assert [dispute.payment_intent for dispute in recent.data] == [second.id]
    assert newest.has_more
    assert isinstance(newest.data[0].charge, stripe.Charge)


async def test_a_dispute_outlives_a_restart(start: Start) -> None:
    async with start() as account:
        paid = await account.paid("pm_card_createDispute")
        dispute = await the_dispute(account, paid)

    async with start() as account:
        await account.switch(f"disputes/{dispute.id}", status="won")
        won = await account.client.v1.disputes.retrieve_async(dispute.id)

    assert won.status == "won"


async def test_look_ups_of_disputes_can_break(account: Account) -> None:
    paid = await account.paid("pm_card_createDispute")
    await account.switch("faults", api={"error_500_before": 1.0, "operations": ["disputes.list", "disputes.retrieve"]})

    with pytest.raises(stripe.APIError):
        await the_dispute(account, paid)
    with pytest.raises(stripe.APIError):
        await account.client.v1.disputes.retrieve_async("du_any")
