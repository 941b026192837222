"""Everything that can become of a refund, in the time-skipping environment, on real services."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.client import WorkflowExecutionStatus

from domain.ids import new_id
from domain.orders import OrderLine
from domain.refunds import RefundOrigin, RefundStatus
from runtime.caller import Caller, CallerRole
from services.payment.refunds.model import NewApproval
from tests.support.saga_refunds import (
    LATER_FAILS,
    PENDING,
    attention_is,
    attention_notes,
    made_at_stripe,
    order_becomes,
    order_id_of,
    paid,
    payment_of,
    refund_saga,
    refunds_become,
    request_refund,
    statuses,
    wait_until,
)
from tests.support.saga_shop import Shop
from workflows.refund_saga import RefundSaga


async def test_an_order_is_refunded_in_full_and_put_back_into_stock(shop: Shop) -> None:
    product = await shop.product(units=10)
    run = await paid(shop, product)

    requested = await request_refund(shop, run, None, OrderLine(product, 3))

    assert (requested.refund.status, requested.refund.amount, requested.accepted_only) == ("SUCCEEDED", 3_000, False)
    assert await statuses(shop, run) == ["RECEIVED", "PENDING", "PAID", "REFUNDED"]
    assert (await shop.stock(product)).on_hand == 10
    assert await shop.disagreements(run) == []


async def test_refunds_in_parallel_add_up_and_never_exceed_the_payment(shop: Shop) -> None:
    product = await shop.product(units=10)
    run = await paid(shop, product)

    answers = await asyncio.gather(*(request_refund(shop, run, 700) for _ in range(6)), return_exceptions=True)

    succeeded = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert [answer.refund.status for answer in succeeded] == ["SUCCEEDED"] * 4
    assert (await payment_of(shop, run)).amount_refunded == 2_800
    assert await statuses(shop, run) == ["RECEIVED", "PENDING", "PAID", *["PARTIALLY_REFUNDED"] * 4]
    assert await shop.disagreements(run) == []


async def test_a_refund_that_takes_days_moves_the_order_once_it_has_succeeded(shop: Shop) -> None:
    run = await paid(shop, await shop.product(), card=PENDING)

    requested = await request_refund(shop, run, wait=0.5)
    assert (requested.refund.status, requested.accepted_only) == ("PENDING", True)
    assert (await shop.order(run)).status == "PAID"

    await shop.switch(f"refunds/{await made_at_stripe(shop, run, requested.refund)}", status="succeeded")
    await shop.deliver_events()

    await refunds_become(shop, run, RefundStatus.SUCCEEDED)
    assert (await shop.order(run)).status == "REFUNDED"
    assert await shop.disagreements(run) == []


async def test_a_refund_whose_event_is_lost_is_read_every_hour(shop: Shop) -> None:
    run = await paid(shop, await shop.product(), card=PENDING)
    requested = await request_refund(shop, run, wait=0.5)

    await shop.switch(f"refunds/{await made_at_stripe(shop, run, requested.refund)}", status="succeeded")
    await shop.env.sleep(3_700)

    await refunds_become(shop, run, RefundStatus.SUCCEEDED)
    await order_becomes(shop, run, "REFUNDED")
    await shop.deliver_events()
    assert await shop.disagreements(run) == []


async def test_a_refund_that_a_bank_sends_back_moves_the_order_back_and_is_replaced(shop: Shop) -> None:
    run = await paid(shop, await shop.product())
    requested = await request_refund(shop, run, 1_000)
    assert (await shop.order(run)).status == "PARTIALLY_REFUNDED"

    await shop.switch(
        f"refunds/{await made_at_stripe(shop, run, requested.refund)}", status="failed", failure_reason="declined"
    )
    await shop.deliver_events()
    await attention_is(shop, run, "carry_out_refund")
    assert (await shop.order(run)).status == "PAID"

    answer = await refund_saga(shop, requested.refund).execute_update(RefundSaga.retry, None)
    assert (answer.step, answer.outcome) == ("replace_refund", "DONE")
    refunds = await refunds_become(shop, run, RefundStatus.REPLACED, RefundStatus.SUCCEEDED)

    assert [refund.amount for refund in refunds] == [1_000, 1_000]
    await order_becomes(shop, run, "PARTIALLY_REFUNDED")
    await attention_is(shop, run)
    there_and_back = ["PARTIALLY_REFUNDED", "PAID", "PARTIALLY_REFUNDED"]
    assert await statuses(shop, run) == ["RECEIVED", "PENDING", "PAID", *there_and_back]
    assert await shop.disagreements(run) == []


async def test_a_replacement_that_wants_a_second_person_waits_for_their_approval(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await paid(shop, await shop.product())
    requested = await request_refund(shop, run, 1_000)
    await shop.switch(f"refunds/{await made_at_stripe(shop, run, requested.refund)}", status="failed")
    await shop.deliver_events()
    await attention_is(shop, run, "carry_out_refund")
    monkeypatch.setattr(shop.payment.approvals, "_limit", 900)  # the setting was made since

    await refund_saga(shop, requested.refund).execute_update(RefundSaga.retry, None)
    await attention_is(shop, run, "carry_out_refund")
    [note] = await attention_notes(shop, run)
    second = Caller(CallerRole.OPERATOR, "ada")
    new = NewApproval(order_id=order_id_of(run), amount=1_000, approver=second, note="")
    await shop.payment.approvals.approve(new)
    answer = await refund_saga(shop, requested.refund).execute_update(RefundSaga.retry, None)

    assert "the refund cannot be replaced" in note
    assert "needs the approval of a second person" in note
    assert (answer.step, answer.outcome) == ("replace_refund", "DONE")
    refunds = await refunds_become(shop, run, RefundStatus.REPLACED, RefundStatus.SUCCEEDED)
    assert [refund.approved_by for refund in refunds] == [None, second.actor]
    await attention_is(shop, run)
    assert await shop.disagreements(run) == []


async def test_a_refund_that_fails_waits_until_a_person_has_dealt_with_it(shop: Shop) -> None:
    run = await paid(shop, await shop.product(), card=LATER_FAILS)
    requested = await request_refund(shop, run, wait=0.5)
    if requested.refund.status is not RefundStatus.FAILED:
        await shop.switch(f"refunds/{await made_at_stripe(shop, run, requested.refund)}", status="failed")
        await shop.deliver_events()
    await attention_is(shop, run, "carry_out_refund")

    answer = await refund_saga(shop, requested.refund).execute_update(RefundSaga.resolve, None)
    assert (answer.step, answer.outcome) == ("resolve_refund", "RESOLVED")

    await refunds_become(shop, run, RefundStatus.RESOLVED)
    await attention_is(shop, run)
    assert (await shop.order(run)).status == "PAID"
    assert await shop.disagreements(run) == []


@pytest.mark.parametrize(
    ("status", "note"),
    [("failed", "the refund failed: unknown"), ("canceled", "the refund was canceled: merchant_request")],
)
async def test_attention_says_what_became_of_a_refund(shop: Shop, status: str, note: str) -> None:
    run = await paid(shop, await shop.product(), card=PENDING)
    requested = await request_refund(shop, run, wait=0.5)

    await shop.switch(f"refunds/{await made_at_stripe(shop, run, requested.refund)}", status=status)
    await shop.deliver_events()
    await attention_is(shop, run, "carry_out_refund")

    assert await attention_notes(shop, run) == [note]
    await refund_saga(shop, requested.refund).execute_update("resolve")
    await refunds_become(shop, run, RefundStatus.RESOLVED)


async def test_a_refund_made_in_the_dashboard_moves_the_order_too(shop: Shop) -> None:
    run = await paid(shop, await shop.product())
    intent_id = (await payment_of(shop, run)).intent_id or ""

    await shop.stripe.v1.refunds.create_async({"payment_intent": intent_id, "amount": 400})
    await shop.deliver_events()

    [refund] = await refunds_become(shop, run, RefundStatus.SUCCEEDED)
    assert refund.origin is RefundOrigin.STRIPE
    await order_becomes(shop, run, "PARTIALLY_REFUNDED")
    assert (await request_refund(shop, run)).refund.amount == 2_600
    assert (await shop.order(run)).status == "REFUNDED"
    assert await shop.disagreements(run) == []


async def test_a_refund_that_stripe_refuses_because_the_dashboard_was_faster_waits_for_a_person(shop: Shop) -> None:
    run = await paid(shop, await shop.product())
    intent_id = (await payment_of(shop, run)).intent_id or ""
    called = asyncio.Event()

    async def refund_by_hand() -> None:
        await shop.stripe.v1.refunds.create_async({"payment_intent": intent_id, "amount": 2_000})
        called.set()

    shop.hooks.before["carry_out_refund"] = refund_by_hand
    requested = await request_refund(shop, run, 2_000)
    assert called.is_set()

    assert requested.refund.status is RefundStatus.FAILED
    await attention_is(shop, run, "carry_out_refund")
    await refund_saga(shop, requested.refund).execute_update("resolve")
    await refunds_become(shop, run, RefundStatus.RESOLVED, RefundStatus.SUCCEEDED)
    assert (await payment_of(shop, run)).amount_refunded == 2_000
    await order_becomes(shop, run, "PARTIALLY_REFUNDED")
    assert await shop.disagreements(run) == []


@pytest.mark.parametrize("step", ["carry_out_refund", "mark_refunded", "restock", "close_refund"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_no_lost_answer_refunds_or_restocks_twice(shop: Shop, step: str, when: str) -> None:
    product = await shop.product(units=10)
    run = await paid(shop, product)

    async def fail() -> None:
        raise ConnectionError("away")

    getattr(shop.hooks, when)[step] = fail
    await request_refund(shop, run, 1_000, OrderLine(product, 1))

    await refunds_become(shop, run, RefundStatus.SUCCEEDED)
    assert len((await shop.stripe.v1.refunds.list_async({"limit": 100})).data) >= 1
    assert (await shop.stock(product)).on_hand == 8
    assert (await shop.order(run)).refunded == 1_000
    assert await shop.disagreements(run) == []


async def test_a_refund_goes_on_when_somebody_cancels_its_workflow(shop: Shop) -> None:
    run = await paid(shop, await shop.product(), card=PENDING)
    requested = await request_refund(shop, run, wait=0.5)

    await refund_saga(shop, requested.refund).cancel()
    await shop.switch(f"refunds/{await made_at_stripe(shop, run, requested.refund)}", status="succeeded")
    await shop.deliver_events()

    await refunds_become(shop, run, RefundStatus.SUCCEEDED)
    assert (await shop.order(run)).status == "REFUNDED"


async def test_a_restock_that_is_refused_waits_for_a_person_and_the_money_does_not(shop: Shop) -> None:
    product = await shop.product(units=10)
    run = await paid(shop, product, 1)
    await shop.inventory.restock(restock_id=new_id(), order_id=order_id_of(run), lines=[OrderLine(product, 1)])

    requested = await request_refund(shop, run, None, OrderLine(product, 1), wait=0.5)

    assert requested.refund.status is RefundStatus.SUCCEEDED
    await attention_is(shop, run, "restock")
    assert (await shop.order(run)).status == "REFUNDED"
    answer = await refund_saga(shop, requested.refund).execute_update(RefundSaga.resolve, None)
    assert (answer.step, answer.outcome) == ("restock", "RESOLVED")
    await refunds_become(shop, run, RefundStatus.SUCCEEDED)
    await attention_is(shop, run)
    assert await shop.disagreements(run) == []


async def test_a_refund_whose_workflow_was_terminated_goes_on(disposable_shop: Shop) -> None:
    shop = disposable_shop
    run = await paid(shop, await shop.product(), card=PENDING)
    requested = await request_refund(shop, run, wait=0.5)
    stripe_refund_id = await made_at_stripe(shop, run, requested.refund)
    await refund_saga(shop, requested.refund).terminate()
    await shop.switch(f"refunds/{stripe_refund_id}", status="succeeded")

    async def is_completed() -> bool:
        async with shop.payment.database.autocommit() as connection:  # as if it were time to look after it
            await connection.execute("UPDATE refunds SET next_attempt_at = now() WHERE saga_open")
        await shop.payment.refund_follow_ups.process_due()
        return (await refund_saga(shop, requested.refund).describe()).status is WorkflowExecutionStatus.COMPLETED

    await wait_until(is_completed)
    await refunds_become(shop, run, RefundStatus.SUCCEEDED)
    assert (await shop.order(run)).status == "REFUNDED"
