"""Refunds at the Stripe double that are not done at once, fail late, or were made in the dashboard."""

from __future__ import annotations

import pytest
import stripe

from tests.support.stripe_double import Merchant, StartMerchant, create


async def test_a_pending_refund_counts_once_it_succeeded(merchant: Merchant) -> None:
    paid = await merchant.paid("pm_card_pendingRefund", amount=1_000)

    made = await merchant.refund(paid, amount=400)
    meanwhile = await merchant.charge(paid)
    at_first = await merchant.events_of(made)
    merchant.advance(5)
    done = await merchant.client.v1.refunds.retrieve_async(made.id)
    charge = await merchant.charge(paid)

    assert (made.status, made.pending_reason) == ("pending", "processing")
    assert (meanwhile.amount_refunded, at_first) == (0, ["refund.created"])
    assert (done.status, done.pending_reason, charge.amount_refunded) == ("succeeded", None, 400)
    assert (await merchant.events_of(made))[1:] == ["refund.updated", "charge.refund.updated"]
    [refunded] = (await merchant.client.v1.events.list_async({"type": "charge.refunded"})).data
    assert refunded.data.object["amount_refunded"] == 400


async def test_what_is_under_way_cannot_be_refunded_again(merchant: Merchant) -> None:
    paid = await merchant.paid("pm_card_pendingRefund", amount=1_000)
    await merchant.refund(paid, amount=400)

    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded amount"):
        await merchant.refund(paid, amount=601)
    await merchant.refund(paid)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await merchant.refund(paid)
    merchant.advance(5)
    charge = await merchant.charge(paid)

    assert refused.value.code == "charge_already_refunded"
    assert (charge.amount_refunded, charge.refunded) == (1_000, True)


async def test_a_refund_that_fails_late_gives_the_money_back_to_the_charge(merchant: Merchant) -> None:
    paid = await merchant.paid("pm_card_refundFail", amount=1_000)

    made = await merchant.refund(paid)
    before = await merchant.charge(paid)
    merchant.advance(5)
    failed = await merchant.client.v1.refunds.retrieve_async(made.id)
    after = await merchant.charge(paid)

    assert (made.status, before.amount_refunded, before.refunded) == ("succeeded", 1_000, True)
    assert (failed.status, failed.failure_reason) == ("failed", "expired_or_canceled_card")
    assert failed.failure_balance_transaction not in (None, failed.balance_transaction)
    assert (after.amount_refunded, after.refunded) == (0, False)
    assert (await merchant.events_of(made))[-3:] == ["refund.updated", "refund.failed", "charge.refund.updated"]
    [event] = (await merchant.client.v1.events.list_async({"type": "refund.failed"})).data
    assert event.request is not None
    assert (event.request.id, event.data.object["status"]) == (None, "failed")


async def test_of_several_refunds_only_the_failed_one_is_taken_back(merchant: Merchant) -> None:
    paid = await merchant.paid("pm_card_visa", amount=1_000)
    first, second = await merchant.refund(paid, amount=300), await merchant.refund(paid, amount=700)

    await merchant.switch(f"refunds/{first.id}", status="failed", failure_reason="lost_or_stolen_card")
    again = await merchant.refund(paid, amount=300)

    charge = await merchant.charge(paid)
    listed = await merchant.client.v1.refunds.list_async({"payment_intent": paid.id})
    assert [(refund.id, refund.status) for refund in listed.data] == [
        (again.id, "succeeded"),
        (second.id, "succeeded"),
        (first.id, "failed"),
    ]
    assert (charge.amount_refunded, charge.refunded) == (1_000, True)


async def test_a_switch_takes_the_place_of_the_change_that_was_due(merchant: Merchant) -> None:
    paid = await merchant.paid("pm_card_pendingRefund", amount=1_000)
    made = await merchant.refund(paid)

    await merchant.switch(f"refunds/{made.id}", status="failed", failure_reason="declined")
    merchant.advance(3_600)

    failed = await merchant.client.v1.refunds.retrieve_async(made.id)
    assert (failed.status, failed.failure_reason) == ("failed", "declined")
    assert (await merchant.charge(paid)).amount_refunded == 0


async def test_only_a_refund_that_waits_for_the_customer_can_be_canceled(merchant: Merchant) -> None:
    paid = await merchant.paid("pm_card_pendingRefund", amount=1_000)
    made = await merchant.refund(paid)
    with pytest.raises(stripe.InvalidRequestError, match="unsupported"):
        await merchant.client.v1.refunds.cancel_async(made.id)
    await merchant.switch(f"refunds/{made.id}", status="requires_action")

    canceled = await merchant.client.v1.refunds.cancel_async(made.id, options={"idempotency_key": "k"})
    replayed = await merchant.client.v1.refunds.cancel_async(made.id, options={"idempotency_key": "k"})

    assert (canceled.status, canceled.failure_reason) == ("canceled", "merchant_request")
    assert replayed.id == canceled.id
    assert (await merchant.events_of(made))[-2:] == ["refund.updated", "charge.refund.updated"]
    assert (await merchant.refund(paid)).amount == 1_000


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"status": "pending"}, "status"),
        ({"status": "eaten"}, "status"),
        ({"status": "failed", "failure_reason": "bored"}, "failure_reason"),
        ({"status": "canceled", "failure_reason": "declined"}, "failure_reason"),
        ({"status": "failed", "colour": "red"}, "colour"),
        ({}, "status"),
    ],
)
async def test_a_change_that_does_not_fit_is_refused_by_name(
    merchant: Merchant, change: dict[str, str], param: str
) -> None:
    paid = await merchant.paid("pm_card_visa")
    made = await merchant.refund(paid)

    answer = await merchant.http.post(f"/_sandbox/refunds/{made.id}", json=change)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert (await merchant.client.v1.refunds.retrieve_async(made.id)).status == "succeeded"


async def test_a_late_change_outlives_a_restart(start: StartMerchant) -> None:
    async with start() as merchant:
        paid = await merchant.paid("pm_card_refundFail")
        made = await merchant.refund(paid)

    async with start() as merchant:
        unchanged = await merchant.client.v1.refunds.retrieve_async(made.id)
        merchant.advance(5)
        failed = await merchant.client.v1.refunds.retrieve_async(made.id)

    assert (unchanged.status, failed.status) == ("succeeded", "failed")


async def test_late_changes_can_be_left_to_the_switch(start: StartMerchant) -> None:
    async with start(late_after=None) as merchant:
        paid = await merchant.paid("pm_card_pendingRefund")
        made = await merchant.refund(paid)
        merchant.advance(7 * 24 * 3_600)
        waiting = await merchant.client.v1.refunds.retrieve_async(made.id)
        done = await merchant.switch(f"refunds/{made.id}", status="succeeded")

    assert (waiting.status, done["status"]) == ("pending", "succeeded")


async def test_a_refund_from_the_dashboard_tells_no_metadata(merchant: Merchant) -> None:
    paid = await merchant.paid("pm_card_visa", metadata={"order_id": "o-1"})

    made = await merchant.client.v1.refunds.create_async({"charge": str(paid.latest_charge)})

    events = await merchant.client.v1.events.list_async({"type": "refund.*"})
    assert [event.type for event in events.data] == ["refund.updated", "refund.created"]
    assert {event.data.object["id"] for event in events.data} == {made.id}
    assert [event.data.object["metadata"].to_dict() for event in events.data] == [{}, {}]
    assert [event.data.object["payment_intent"] for event in events.data] == [paid.id, paid.id]


async def test_a_lost_answer_to_a_cancel_is_given_again(merchant: Merchant) -> None:
    paid = await merchant.paid("pm_card_pendingRefund")
    made = await merchant.refund(paid)
    await merchant.switch(f"refunds/{made.id}", status="requires_action")
    await merchant.switch("faults", api={"lose_response": 1.0, "operations": ["refunds.cancel"]})
    with pytest.raises(stripe.APIConnectionError):
        await merchant.client.v1.refunds.cancel_async(made.id, options={"idempotency_key": "k"})
    await merchant.switch("faults")

    canceled = await merchant.client.v1.refunds.cancel_async(made.id, options={"idempotency_key": "k"})

    assert canceled.status == "canceled"


async def test_an_unknown_refund_has_no_switch(merchant: Merchant) -> None:
    await create(merchant.client)

    answer = await merchant.http.post("/_sandbox/refunds/re_nobody", json={"status": "failed"})

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "resource_missing")
