"""What the saga relies on in the steps of the payment."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from domain.ids import new_id
from domain.payments import PaymentStatus
from domain.refunds import RefundOrigin, RefundStatus
from domain.saga import CheckPaymentRequest, PaymentState
from tests.support.step_harness import Money, StepHarness, opening
from workflows.steps import PaymentSteps, RefundSteps

VISA = "pm_card_visa"
DECLINED = "pm_card_chargeDeclined"
AUTHENTICATION = "pm_card_authenticationRequired"


async def refusal(call: Awaitable[Any]) -> str | None:
    """The name by which a step refuses for good."""
    with pytest.raises(ApplicationError) as error:
        await call
    assert error.value.non_retryable
    return error.value.type


async def fails_for_now(call: Awaitable[Any]) -> None:
    """The step fails with trouble that passes: Temporal repeats it."""
    with pytest.raises(Exception) as error:  # noqa: PT011  # each side has an error of its own for it
        await call
    assert not (isinstance(error.value, ApplicationError) and error.value.non_retryable)


async def opened(harness: StepHarness, **changes: Any) -> str:
    """An order whose payment is open."""
    order_id = new_id()
    await harness.do(PaymentSteps.open_payment, opening(order_id, **changes))
    return order_id


async def look(harness: StepHarness, order_id: str) -> PaymentState:
    """The payment as it is stored."""
    return await harness.do(PaymentSteps.check_payment, CheckPaymentRequest(order_id=order_id, refresh=False))


async def reread(harness: StepHarness, order_id: str) -> PaymentState:
    """The payment as Stripe has it."""
    return await harness.do(PaymentSteps.check_payment, CheckPaymentRequest(order_id=order_id, refresh=True))


def money(**changes: Any) -> Money:
    nothing = {"intents": 1, "captured": 0, "refunded": 0, "refunds": 0, "failed_charges": 0}
    return Money(**{**nothing, **changes})


@pytest.mark.parametrize(
    ("card", "status", "received", "attempts", "at_stripe"),
    [
        (None, PaymentStatus.REQUIRES_PAYMENT_METHOD, 0, 0, money(status="requires_payment_method")),
        (VISA, PaymentStatus.SUCCEEDED, 2_000, 0, money(status="succeeded", captured=2_000)),
        (
            DECLINED,
            PaymentStatus.REQUIRES_PAYMENT_METHOD,
            0,
            1,
            money(status="requires_payment_method", failed_charges=1),
        ),
        (AUTHENTICATION, PaymentStatus.REQUIRES_ACTION, 0, 0, money(status="requires_action")),
    ],
)
async def test_a_payment_opens_once_and_charges_once_however_often_it_is_asked(
    harness: StepHarness, card: str | None, status: PaymentStatus, received: int, attempts: int, at_stripe: Money
) -> None:
    order_id = new_id()
    states = [await harness.do(PaymentSteps.open_payment, opening(order_id, payment_method=card)) for _ in range(2)]

    assert states[0] == states[1] == await look(harness, order_id)
    state = states[0]
    assert (state.status, state.amount_received, state.failed_attempts) == (status, received, attempts)
    assert state.currency == "EUR"
    assert await harness.money(order_id) == at_stripe


async def test_an_unknown_payment_method_or_too_small_an_amount_is_rejected(harness: StepHarness) -> None:
    for changes in ({"payment_method": "pm_unknown"}, {"amount": 49}):
        order_id = new_id()
        for _ in range(2):
            call = harness.do(PaymentSteps.open_payment, opening(order_id, **changes))
            assert await refusal(call) == "PAYMENT_REJECTED"
        assert (await harness.money(order_id)).captured == 0


async def test_a_payment_of_other_terms_is_refused(harness: StepHarness) -> None:
    order_id = await opened(harness)

    for changes in ({"amount": 2_001}, {"payment_method": VISA}, {"user_id": new_id()}):
        call = harness.do(PaymentSteps.open_payment, opening(order_id, **changes))
        assert await refusal(call) == "PAYMENT_DIFFERS"
    assert (await harness.money(order_id)).intents == 1


async def test_a_re_read_tells_what_the_customer_did_and_a_look_does_not(harness: StepHarness) -> None:
    order_id = await opened(harness)
    await harness.pay(order_id, VISA)

    assert (await look(harness, order_id)).status is PaymentStatus.REQUIRES_PAYMENT_METHOD
    state = await reread(harness, order_id)
    assert (state.status, state.amount_received) == (PaymentStatus.SUCCEEDED, 2_000)
    assert await look(harness, order_id) == state


async def test_an_event_makes_the_payment_catch_up(harness: StepHarness) -> None:
    order_id = await opened(harness)
    await harness.pay(order_id, VISA)
    for _ in range(2):
        await harness.deliver_events()

    assert (await look(harness, order_id)).status is PaymentStatus.SUCCEEDED


async def test_each_failed_charge_counts_once_however_it_is_seen(harness: StepHarness) -> None:
    order_id = await opened(harness, payment_method=DECLINED)
    await harness.pay(order_id, DECLINED)
    await harness.deliver_events()

    for _ in range(2):
        assert (await reread(harness, order_id)).failed_attempts == 2
    repeated = await harness.do(PaymentSteps.open_payment, opening(order_id, payment_method=DECLINED))
    assert repeated.failed_attempts == (await harness.money(order_id)).failed_charges == 2


async def test_what_came_in_is_told_and_not_what_was_asked_for(harness: StepHarness) -> None:
    order_id = await opened(harness)
    await harness.change_amount(order_id, 1_500)
    await harness.pay(order_id, VISA)

    assert (await reread(harness, order_id)).amount_received == 1_500


async def test_close_cancels_the_intent_and_a_late_open_takes_no_money(harness: StepHarness) -> None:
    order_id = await opened(harness)
    for _ in range(2):
        assert (await harness.do(PaymentSteps.close_payment, order_id)).status is PaymentStatus.CANCELLED
    late = await harness.do(PaymentSteps.open_payment, opening(order_id))

    assert late.status is PaymentStatus.CANCELLED
    assert await harness.money(order_id) == money(status="canceled")


async def test_close_finds_the_money_that_was_faster(harness: StepHarness) -> None:
    order_id = await opened(harness)
    await harness.pay(order_id, VISA)

    state = await harness.do(PaymentSteps.close_payment, order_id)

    assert (state.status, state.amount_received) == (PaymentStatus.SUCCEEDED, 2_000)
    assert await harness.money(order_id) == money(status="succeeded", captured=2_000)


async def test_close_and_check_of_no_payment_are_refused_by_name(harness: StepHarness) -> None:
    assert await refusal(harness.do(PaymentSteps.close_payment, new_id())) == "PAYMENT_NOT_FOUND"
    assert await refusal(look(harness, new_id())) == "PAYMENT_NOT_FOUND"
    assert await refusal(reread(harness, new_id())) == "PAYMENT_NOT_FOUND"


async def test_void_cancels_what_took_no_money(harness: StepHarness) -> None:
    order_id = await opened(harness, payment_method=AUTHENTICATION)
    for _ in range(2):
        await harness.do(PaymentSteps.void_payment, order_id)

    assert (await look(harness, order_id)).status is PaymentStatus.CANCELLED
    assert await harness.money(order_id) == money(status="canceled")


async def test_void_owes_all_money_and_returns_and_it_goes_back_once(harness: StepHarness) -> None:
    order_id = await opened(harness, payment_method=VISA)
    for _ in range(2):
        await harness.do(PaymentSteps.void_payment, order_id)
    assert await harness.money(order_id) == money(status="succeeded", captured=2_000)

    [due] = await harness.open_refunds(order_id)
    for _ in range(2):
        state = await harness.do(RefundSteps.carry_out_refund, due)
        assert (state.status, state.origin, state.amount) == (RefundStatus.SUCCEEDED, RefundOrigin.VOID, 2_000)
    await harness.deliver_events()
    await harness.do(PaymentSteps.void_payment, order_id)
    await harness.give_back(order_id)

    assert await harness.money(order_id) == money(status="succeeded", captured=2_000, refunded=2_000, refunds=1)
    assert await harness.open_refunds(order_id) == []


async def test_an_open_that_comes_after_its_void_is_refused_and_takes_no_money(harness: StepHarness) -> None:
    voided_before, voided_after = new_id(), await opened(harness)
    await harness.do(PaymentSteps.void_payment, voided_before)
    await harness.do(PaymentSteps.void_payment, voided_after)

    for order_id, changes in ((voided_before, {"payment_method": VISA}), (voided_after, {})):
        call = harness.do(PaymentSteps.open_payment, opening(order_id, **changes))
        assert await refusal(call) == "PAYMENT_VOIDED"
        assert (await harness.money(order_id)).captured == 0
    assert (await harness.money(voided_before)).intents == 0
    assert (await look(harness, voided_before)).status is PaymentStatus.CANCELLED


async def test_money_on_its_way_can_be_closed_but_not_voided_yet_and_goes_back_when_it_came(
    harness: StepHarness,
) -> None:
    order_id = await opened(harness)
    await harness.start_slow_payment(order_id)
    assert (await harness.do(PaymentSteps.close_payment, order_id)).status is PaymentStatus.PROCESSING
    await fails_for_now(harness.do(PaymentSteps.void_payment, order_id))

    await harness.settle_slow_payment(order_id)
    await harness.do(PaymentSteps.void_payment, order_id)
    await harness.give_back(order_id)

    assert await harness.money(order_id) == money(status="succeeded", captured=2_000, refunded=2_000, refunds=1)


async def test_late_money_of_a_voided_payment_is_due_by_its_event_alone_and_goes_back_once(
    harness: StepHarness,
) -> None:
    order_id = await opened(harness)
    await harness.start_slow_payment(order_id)
    await fails_for_now(harness.do(PaymentSteps.void_payment, order_id))

    await harness.settle_slow_payment(order_id)
    for _ in range(2):
        await harness.deliver_events()
        await harness.give_back(order_id)

    assert await harness.money(order_id) == money(status="succeeded", captured=2_000, refunded=2_000, refunds=1)


async def test_an_intent_cancelled_at_stripe_is_cancelled_here(harness: StepHarness) -> None:
    order_id = await opened(harness)
    await harness.cancel_at_stripe(order_id)
    await harness.deliver_events()

    assert (await look(harness, order_id)).status is PaymentStatus.CANCELLED
    await harness.do(PaymentSteps.void_payment, order_id)
    assert await harness.money(order_id) == money(status="canceled")
