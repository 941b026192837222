"""Disputes at the Stripe double: opened by test cards or a switch, moved on by a switch, read by the official SDK."""

from __future__ import annotations

import pytest
import stripe

from tests.support.stripe_double import Merchant, StartMerchant

CREATED = ["charge.dispute.created", "charge.dispute.funds_withdrawn"]


async def the_dispute(merchant: Merchant, paid: stripe.PaymentIntent) -> stripe.Dispute:
    [dispute] = (await merchant.client.v1.disputes.list_async({"payment_intent": paid.id})).data
    return dispute


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        ("pm_card_createDispute", "fraudulent"),
        ("pm_card_createDisputeProductNotReceived", "product_not_received"),
    ],
)
async def test_a_chargeback_takes_the_money_and_forbids_refunds(merchant: Merchant, card: str, reason: str) -> None:
    paid = await merchant.paid(card, amount=1_000)
    dispute = await the_dispute(merchant, paid)

    with pytest.raises(stripe.InvalidRequestError) as refused:
        await merchant.refund(paid)

    assert (paid.status, (await merchant.charge(paid)).disputed) == ("succeeded", True)
    assert (dispute.status, dispute.reason, dispute.amount) == ("needs_response", reason, 1_000)
    assert (dispute.charge, dispute.currency, dispute.is_charge_refundable) == (paid.latest_charge, "usd", False)
    assert [moved.amount for moved in dispute.balance_transactions] == [-1_000]
    assert await merchant.events_of(dispute) == CREATED
    assert (refused.value.http_status, refused.value.code) == (400, "charge_disputed")


async def test_a_won_dispute_gives_the_money_back_and_allows_refunds(merchant: Merchant) -> None:
    paid = await merchant.paid("pm_card_createDispute", amount=1_000)
    dispute = await the_dispute(merchant, paid)

    await merchant.switch(f"disputes/{dispute.id}", status="under_review")
    await merchant.switch(f"disputes/{dispute.id}", status="won")

    won = await merchant.client.v1.disputes.retrieve_async(dispute.id)
    assert (won.status, won.is_charge_refundable) == ("won", True)
    assert [moved.amount for moved in won.balance_transactions] == [-1_000, 1_000]
    assert (await merchant.events_of(dispute))[2:] == [
        "charge.dispute.updated",
        "charge.dispute.updated",
        "charge.dispute.funds_reinstated",
        "charge.dispute.closed",
    ]
    assert (await merchant.refund(paid)).status == "succeeded"


async def test_a_lost_dispute_keeps_the_money(merchant: Merchant) -> None:
    paid = await merchant.paid("pm_card_createDispute")
    dispute = await the_dispute(merchant, paid)

    await merchant.switch(f"disputes/{dispute.id}", status="lost")

    lost = await merchant.client.v1.disputes.retrieve_async(dispute.id)
    assert (lost.status, len(lost.balance_transactions)) == ("lost", 1)
    assert (await merchant.events_of(dispute))[2:] == ["charge.dispute.updated", "charge.dispute.closed"]
    with pytest.raises(stripe.InvalidRequestError, match="charged back"):
        await merchant.refund(paid)
    again = await merchant.http.post(f"/_sandbox/disputes/{dispute.id}", json={"status": "won"})
    assert (again.status_code, again.json()["error"]["param"]) == (400, "status")


async def test_an_inquiry_takes_no_money_until_it_becomes_a_chargeback(merchant: Merchant) -> None:
    paid = await merchant.paid("pm_card_createDisputeInquiry", amount=1_000)
    inquiry = await the_dispute(merchant, paid)
    refunded = await merchant.refund(paid, amount=100)

    await merchant.switch(f"disputes/{inquiry.id}", status="needs_response")

    escalated = await merchant.client.v1.disputes.retrieve_async(inquiry.id)
    assert (inquiry.status, inquiry.is_charge_refundable) == ("warning_needs_response", True)
    assert (list(inquiry.balance_transactions), refunded.status) == ([], "succeeded")
    assert (escalated.is_charge_refundable, escalated.balance_transactions[0].amount) == (False, -1_000)
    assert await merchant.events_of(inquiry) == [
        "charge.dispute.created",
        "charge.dispute.updated",
        "charge.dispute.funds_withdrawn",
    ]


async def test_any_paid_charge_can_be_disputed_once(merchant: Merchant) -> None:
    paid = await merchant.paid("pm_card_visa", amount=1_000)
    await merchant.refund(paid, amount=300)

    opened = await merchant.switch(f"charges/{paid.latest_charge}/dispute", reason="general")
    again = await merchant.http.post(f"/_sandbox/charges/{paid.latest_charge}/dispute")
    unknown = await merchant.http.post("/_sandbox/charges/ch_nobody/dispute")

    assert (opened["amount"], opened["reason"], opened["status"]) == (700, "general", "needs_response")
    assert (again.status_code, unknown.status_code) == (400, 404)


async def test_a_chargeback_fails_the_refunds_that_are_under_way(merchant: Merchant) -> None:
    paid = await merchant.paid("pm_card_pendingRefund", amount=1_000)
    made = await merchant.refund(paid, amount=300)

    await merchant.switch(f"charges/{paid.latest_charge}/dispute")
    merchant.advance(5)

    failed = await merchant.client.v1.refunds.retrieve_async(made.id)
    charge = await merchant.charge(paid)
    assert (failed.status, failed.failure_reason) == ("failed", "charge_for_pending_refund_disputed")
    assert (charge.amount_refunded, charge.disputed) == (0, True)


async def test_disputes_are_listed_by_charge_intent_and_time(merchant: Merchant) -> None:
    first = await merchant.paid("pm_card_createDispute")
    merchant.advance(60)
    second = await merchant.paid("pm_card_createDispute")
    disputes = merchant.client.v1.disputes

    by_charge = await disputes.list_async({"charge": str(first.latest_charge)})
    recent = await disputes.list_async({"created": {"gte": int(merchant.account.clock.now())}})
    newest = await disputes.list_async({"limit": 1, "expand": ["data.charge"]})

    assert [dispute.payment_intent for dispute in by_charge.data] == [first.id]
    assert [dispute.payment_intent for dispute in recent.data] == [second.id]
    assert newest.has_more
    assert isinstance(newest.data[0].charge, stripe.Charge)


async def test_a_dispute_outlives_a_restart(start: StartMerchant) -> None:
    async with start() as merchant:
        paid = await merchant.paid("pm_card_createDispute")
        dispute = await the_dispute(merchant, paid)

    async with start() as merchant:
        await merchant.switch(f"disputes/{dispute.id}", status="won")
        won = await merchant.client.v1.disputes.retrieve_async(dispute.id)

    assert won.status == "won"


async def test_look_ups_of_disputes_can_break(merchant: Merchant) -> None:
    paid = await merchant.paid("pm_card_createDispute")
    await merchant.switch("faults", api={"error_500_before": 1.0, "operations": ["disputes.list", "disputes.retrieve"]})

    with pytest.raises(stripe.APIError):
        await the_dispute(merchant, paid)
    with pytest.raises(stripe.APIError):
        await merchant.client.v1.disputes.retrieve_async("du_any")
