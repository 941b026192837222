"""Everything that can become of a dispute, in the time-skipping environment, on real services."""

from __future__ import annotations

import pytest
from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from domain.refunds import RefundStatus
from domain.saga import dispute_workflow_id
from services.payment.refunds.errors import PaymentDisputed
from tests.support.saga_refunds import (
    DISPUTED,
    attention_is,
    order_becomes,
    paid,
    payment_of,
    refund_saga,
    refunds_become,
    request_refund,
)
from tests.support.saga_shop import Shop
from workflows.dispute_case import DisputeCase


async def test_a_dispute_holds_attention_and_every_refund_until_it_is_decided(shop: Shop) -> None:
    run = await paid(shop, await shop.product(), card=DISPUTED)
    await shop.deliver_events()
    await attention_is(shop, run, "dispute")
    with pytest.raises(PaymentDisputed):
        await request_refund(shop, run)

    [dispute] = (await payment_of(shop, run)).disputes
    assert (dispute.status, dispute.withdrawn) == ("NEEDS_RESPONSE", 3_000)
    await shop.switch(f"disputes/{dispute.id}", status="won")
    await shop.deliver_events()
    await attention_is(shop, run)

    case = shop.env.client.get_workflow_handle(dispute_workflow_id(dispute.id))
    assert await case.result() == "WON"
    assert (await request_refund(shop, run)).refund.status is RefundStatus.SUCCEEDED
    assert await shop.disagreements(run) == []


async def test_a_step_of_a_dispute_that_is_refused_is_parked_and_can_be_retried(shop: Shop) -> None:
    async def refuse() -> None:
        raise ApplicationError("not there yet", type="DISPUTE_NOT_FOUND", non_retryable=True)

    shop.hooks.before["check_dispute"] = refuse
    run = await paid(shop, await shop.product(), card=DISPUTED)
    await shop.deliver_events()
    await attention_is(shop, run, "check_dispute")
    [dispute] = (await payment_of(shop, run)).disputes
    case = shop.env.client.get_workflow_handle(dispute_workflow_id(dispute.id))

    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await case.execute_update("resolve")
    assert "cannot be resolved by hand" in str(refused.value.cause)
    answer = await case.execute_update(DisputeCase.retry, None)
    assert (answer.step, answer.outcome) == ("check_dispute", "DONE")

    await attention_is(shop, run, "dispute")
    await shop.switch(f"disputes/{dispute.id}", status="lost")
    await shop.deliver_events()
    assert await case.result() == "LOST"
    await attention_is(shop, run)
    assert await shop.disagreements(run) == []


@pytest.mark.parametrize("outcome", ["won", "lost"])
async def test_a_refund_that_is_due_waits_for_a_dispute(shop: Shop, outcome: str) -> None:
    run = await paid(shop, await shop.product())
    intent = await shop.stripe.v1.payment_intents.retrieve_async((await payment_of(shop, run)).intent_id or "")

    async def dispute() -> None:
        await shop.switch(f"charges/{intent.latest_charge}/dispute", reason="fraudulent")

    shop.hooks.before["carry_out_refund"] = dispute
    requested = await request_refund(shop, run, wait=0.5)
    assert requested.refund.status is RefundStatus.REQUESTED
    await attention_is(shop, run, "dispute", "carry_out_refund")

    [found] = (await payment_of(shop, run)).disputes
    await shop.switch(f"disputes/{found.id}", status=outcome)
    await shop.deliver_events()

    if outcome == "won":
        await refunds_become(shop, run, RefundStatus.SUCCEEDED)
        await order_becomes(shop, run, "REFUNDED")
    else:
        await refunds_become(shop, run, RefundStatus.FAILED)
        await attention_is(shop, run, "carry_out_refund")
        await refund_saga(shop, requested.refund).execute_update("resolve")
        await refunds_become(shop, run, RefundStatus.RESOLVED)
        assert (await shop.order(run)).status == "PAID"
    await attention_is(shop, run)
    assert await shop.disagreements(run) == []
