"""What the sagas rely on in the steps of refunds and disputes."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from domain.ids import new_id
from domain.refunds import DisputeStatus, RefundOrigin, RefundStatus
from domain.saga import CloseDisputeRequest, CloseRefundRequest, RefundState
from tests.support.step_harness import StepHarness, opening
from workflows.steps import DisputeSteps, PaymentSteps, RefundSteps

VISA, PENDING = "pm_card_visa", "pm_card_pendingRefund"


async def refusal(call: Awaitable[Any]) -> str | None:
    """The name by which a step refuses for good."""
    with pytest.raises(ApplicationError) as error:
        await call
    assert error.value.non_retryable
    return error.value.type


async def paid(harness: StepHarness, card: str = VISA) -> str:
    """An order whose 20.00 EUR are paid."""
    order_id = new_id()
    await harness.do(PaymentSteps.open_payment, opening(order_id, payment_method=card))
    return order_id


async def carry_out(harness: StepHarness, refund_id: str) -> RefundState:
    return await harness.do(RefundSteps.carry_out_refund, refund_id)


async def close(harness: StepHarness, state: RefundState, *, version: int | None = None) -> bool:
    wanted = state.version if version is None else version
    return await harness.do(RefundSteps.close_refund, CloseRefundRequest(refund_id=state.refund_id, version=wanted))


async def given_back(harness: StepHarness, order_id: str) -> tuple[int, int]:
    """What went back at Stripe, and the number of refunds there."""
    money = await harness.money(order_id)
    return money.refunded, money.refunds


async def test_a_refund_is_carried_out_once_however_often_it_is_asked(harness: StepHarness) -> None:
    order_id = await paid(harness)
    refund_id = await harness.request_refund(order_id, 600)

    states = [await carry_out(harness, refund_id) for _ in range(3)]

    assert states[0] == states[1] == states[2]
    assert (states[0].refund_id, states[0].order_id, states[0].status) == (refund_id, order_id, RefundStatus.SUCCEEDED)
    assert (states[0].amount, states[0].currency, states[0].origin) == (600, "EUR", RefundOrigin.ADMIN)
    assert (states[0].version, states[0].failure_reason, states[0].restock) == (2, None, [])
    assert await given_back(harness, order_id) == (600, 1)


async def test_a_refund_is_closed_at_its_version_and_no_other(harness: StepHarness) -> None:
    state = await carry_out(harness, await harness.request_refund(await paid(harness), 600))

    answers = [
        await close(harness, state, version=version) for version in (state.version - 1, state.version, state.version)
    ]

    assert answers == [False, True, True]
    assert await harness.open_refunds(state.order_id) == []


async def test_no_more_is_asked_for_than_is_left(harness: StepHarness) -> None:
    order_id = await paid(harness)
    await harness.request_refund(order_id, 1_500)

    with pytest.raises(Exception, match="left"):
        await harness.request_refund(order_id, 501)
    await harness.give_back(order_id)
    await harness.request_refund(order_id)
    await harness.give_back(order_id)

    assert await given_back(harness, order_id) == (2_000, 2)


async def test_a_pending_refund_succeeds_later(harness: StepHarness) -> None:
    order_id = await paid(harness, PENDING)
    refund_id = await harness.request_refund(order_id, 600)
    pending = await carry_out(harness, refund_id)

    await harness.move_refund(order_id, "succeeded")
    await harness.deliver_events()
    done = await carry_out(harness, refund_id)

    assert (pending.status, done.status) == (RefundStatus.PENDING, RefundStatus.SUCCEEDED)
    assert done.version == pending.version + 1
    assert not await close(harness, pending)
    assert await close(harness, done)


async def test_a_refund_that_is_taken_back_is_open_again_and_can_be_replaced(harness: StepHarness) -> None:
    order_id = await paid(harness)
    done = await carry_out(harness, await harness.request_refund(order_id, 600))
    await close(harness, done)

    await harness.move_refund(order_id, "failed")
    await harness.deliver_events()
    assert await harness.open_refunds(order_id) == [done.refund_id]
    failed = await carry_out(harness, done.refund_id)
    assert (failed.status, failed.version) == (RefundStatus.FAILED, done.version + 1)
    assert failed.failure_reason
    states = [await harness.do(RefundSteps.replace_refund, done.refund_id) for _ in range(2)]
    assert [state.status for state in states] == [RefundStatus.REPLACED] * 2
    assert len(await harness.open_refunds(order_id)) == 2
    await harness.give_back(order_id)

    assert await harness.open_refunds(order_id) == []
    assert await given_back(harness, order_id) == (600, 2)


async def test_a_failed_refund_that_a_person_dealt_with_is_over(harness: StepHarness) -> None:
    order_id = await paid(harness, PENDING)
    pending = await carry_out(harness, await harness.request_refund(order_id, 600))
    await harness.move_refund(order_id, "failed")
    await harness.deliver_events()

    resolved = await harness.do(RefundSteps.resolve_refund, pending.refund_id)
    await harness.give_back(order_id)

    assert resolved.status is RefundStatus.RESOLVED
    assert await harness.open_refunds(order_id) == []
    assert await given_back(harness, order_id) == (0, 1)


async def test_a_failed_refund_whose_money_went_back_otherwise_cannot_be_replaced(harness: StepHarness) -> None:
    order_id = await paid(harness)
    failed = await carry_out(harness, await harness.request_refund(order_id, 1_500))
    await harness.move_refund(order_id, "failed")
    await harness.deliver_events()
    await harness.request_refund(order_id, 600)

    call = harness.do(RefundSteps.replace_refund, failed.refund_id)
    assert await refusal(call) == "REFUND_EXCEEDS_PAYMENT"


async def test_a_refund_from_the_dashboard_is_adopted(harness: StepHarness) -> None:
    order_id = await paid(harness)
    await harness.refund_in_dashboard(order_id, 600)
    for _ in range(2):
        await harness.deliver_events()

    [refund_id] = await harness.open_refunds(order_id)
    adopted = await carry_out(harness, refund_id)

    assert (adopted.origin, adopted.amount, adopted.status) == (RefundOrigin.STRIPE, 600, RefundStatus.SUCCEEDED)
    assert await given_back(harness, order_id) == (600, 1)


async def test_of_what_is_due_only_the_rest_is_given_back_when_the_dashboard_was_faster(harness: StepHarness) -> None:
    order_id = await paid(harness)
    await harness.do(PaymentSteps.void_payment, order_id)
    [due] = await harness.open_refunds(order_id)
    await harness.refund_in_dashboard(order_id, 600)

    state = await carry_out(harness, due)
    for _ in range(2):
        await harness.give_back(order_id)

    assert state.status is RefundStatus.REPLACED
    assert await given_back(harness, order_id) == (2_000, 2)
    assert await harness.open_refunds(order_id) == []


async def test_while_a_bank_decides_no_refund_is_made_and_once_it_is_won_it_is(harness: StepHarness) -> None:
    order_id = await paid(harness)
    refund_id = await harness.request_refund(order_id, 600)
    dispute_id = await harness.open_dispute(order_id)  # of which Stripe's refusal tells first

    for _ in range(2):
        assert await refusal(carry_out(harness, refund_id)) == "PAYMENT_DISPUTED"
    await harness.deliver_events()
    state = await harness.do(DisputeSteps.check_dispute, dispute_id)
    assert (state.status, state.amount, state.currency) == (DisputeStatus.NEEDS_RESPONSE, 2_000, "EUR")
    await harness.move_dispute(dispute_id, "won")
    won = await harness.do(DisputeSteps.check_dispute, dispute_id)
    assert (won.status, won.version) == (DisputeStatus.WON, state.version + 1)
    assert await carried_out(harness, refund_id) is RefundStatus.SUCCEEDED
    assert await given_back(harness, order_id) == (600, 1)


async def carried_out(harness: StepHarness, refund_id: str) -> RefundStatus:
    """How it stands when the step was repeated after trouble that passed."""
    try:
        return (await carry_out(harness, refund_id)).status
    except ApplicationError:
        raise
    except Exception:  # the service asks to be asked again: Stripe repeated its refusal
        return (await carry_out(harness, refund_id)).status


async def test_a_refund_of_what_a_dispute_took_for_good_has_failed(harness: StepHarness) -> None:
    order_id = await paid(harness)
    refund_id = await harness.request_refund(order_id, 600)
    dispute_id = await harness.open_dispute(order_id)
    await harness.move_dispute(dispute_id, "lost")
    await harness.deliver_events()

    failed = await carry_out(harness, refund_id)

    assert failed.status is RefundStatus.FAILED
    assert await refusal(harness.do(RefundSteps.replace_refund, refund_id)) == "REFUND_EXCEEDS_PAYMENT"
    assert await given_back(harness, order_id) == (0, 0)


async def test_a_dispute_is_closed_at_its_version_and_no_other(harness: StepHarness) -> None:
    order_id = await paid(harness)
    dispute_id = await harness.open_dispute(order_id)
    await harness.deliver_events()
    await harness.move_dispute(dispute_id, "lost")
    state = await harness.do(DisputeSteps.check_dispute, dispute_id)

    answers = [
        await harness.do(DisputeSteps.close_dispute, CloseDisputeRequest(dispute_id=dispute_id, version=version))
        for version in (state.version - 1, state.version, state.version)
    ]

    assert answers == [False, True, True]


async def test_what_does_not_exist_is_refused_by_name(harness: StepHarness) -> None:
    for step in (RefundSteps.carry_out_refund, RefundSteps.replace_refund, RefundSteps.resolve_refund):
        assert await refusal(harness.do(step, new_id())) == "REFUND_NOT_FOUND"
    request = CloseRefundRequest(refund_id=new_id(), version=1)
    assert await refusal(harness.do(RefundSteps.close_refund, request)) == "REFUND_NOT_FOUND"
    assert await refusal(harness.do(DisputeSteps.check_dispute, "du_nobody")) == "DISPUTE_NOT_FOUND"
