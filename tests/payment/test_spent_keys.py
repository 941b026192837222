"""What Stripe stored under a key says nothing about now: a refusal that it repeats is asked for anew, with another."""

from __future__ import annotations

import pytest

from domain.payments import PaymentStatus
from domain.refunds import RefundStatus
from services.payment.payments.errors import PaymentUnsettled
from services.payment.payments.model import Payment
from services.payment.stripe.errors import PaymentRejected, StripeUnavailable
from tests.support.payment_harness import PaymentHarness, new_payment

CONFIRM, CANCEL = "payment_intents.confirm", "payment_intents.cancel"
REFUND = "refunds.create"
BANK_DEBIT, VISA = "pm_success_de", "pm_card_visa"


async def refused_while_processing(harness: PaymentHarness, undo: str) -> Payment:
    """A payment that could not be cancelled because the customer paid by bank debit just before, which fails then."""
    payment = await harness.opened()
    harness.calls.before(CANCEL, lambda: harness.customer_pays(payment, BANK_DEBIT))
    if undo == "close":
        assert (await harness.service.close(payment.order_id)).status is PaymentStatus.PROCESSING
    else:
        with pytest.raises(PaymentUnsettled, match="still processing"):
            await harness.service.void(payment.order_id)
    harness.account.fail(payment.intent_id or "")
    return payment


@pytest.mark.parametrize("undo", ["close", "void"])
async def test_a_cancel_that_was_refused_while_a_charge_was_under_way_is_made_once_that_has_failed(
    harness: PaymentHarness, undo: str
) -> None:
    payment = await refused_while_processing(harness, undo)

    await getattr(harness.service, undo)(payment.order_id)

    [intent] = await harness.intents(payment.order_id)
    cancelled = await harness.stored(payment)
    assert (intent.status, cancelled.status, cancelled.generation) == ("canceled", PaymentStatus.CANCELLED, 1)
    assert cancelled.failed_attempts == 1
    assert await harness.customer_pays(payment, VISA) == 400


@pytest.mark.parametrize("undo", ["close", "void"])
async def test_a_payment_that_came_after_its_cancel_was_refused_is_no_spent_key(
    harness: PaymentHarness, undo: str
) -> None:
    payment = await refused_while_processing(harness, undo)
    await harness.customer_pays(payment, VISA)

    await getattr(harness.service, undo)(payment.order_id)

    assert ((await harness.stored(payment)).status, harness.calls.made.count(CANCEL)) == (PaymentStatus.SUCCEEDED, 1)


async def test_a_refusal_of_a_payment_method_whose_answer_was_lost_is_asked_for_anew(harness: PaymentHarness) -> None:
    new = new_payment(payment_method="pm_nobody")
    harness.break_api(CONFIRM, lose_response=1.0)
    with pytest.raises(StripeUnavailable):
        await harness.service.open(new)
    harness.fix_api()

    for generation in (1, 2):
        with pytest.raises(PaymentRejected, match="No such PaymentMethod"):
            await harness.service.open(new)
        assert (await harness.service.check(new.order_id, refresh=False)).generation == generation

    assert len(await harness.intents(new.order_id)) == 1


async def test_a_refusal_of_a_refund_that_holds_no_more_does_not_keep_it_from_being_made(
    harness: PaymentHarness,
) -> None:
    payment = await harness.opened(VISA)
    refund = (await harness.request(payment, 600)).refund
    [charge] = await harness.charges(payment)
    harness.refuse_refunds(charge)
    harness.break_api(REFUND, lose_response=1.0)
    with pytest.raises(StripeUnavailable):
        await harness.refund_service.carry_out(refund.id)
    harness.fix_api()
    harness.allow_refunds(charge)

    made = (await harness.refund_service.carry_out(refund.id)).get_refund(refund.id)

    assert (made.status, made.generation) == (RefundStatus.SUCCEEDED, 1)
    assert len(await harness.refunds(payment)) == 1
