"""A payment of nothing has succeeded when it is opened, and Stripe never hears of it."""

from __future__ import annotations

import pytest

from domain.payments import PaymentStatus
from services.payment.payments.errors import PaymentDiffers, PaymentVoided
from services.payment.refunds.errors import PaymentNotRefundable
from tests.support.payment_harness import PaymentHarness, new_payment


@pytest.mark.parametrize("payment_method", [None, "pm_card_visa", "pm_card_chargeDeclined"])
async def test_a_payment_of_nothing_has_succeeded_without_an_intent(
    harness: PaymentHarness, payment_method: str | None
) -> None:
    payment = await harness.opened(payment_method, amount=0)

    assert (payment.status, payment.amount_received, payment.currency_received) == (PaymentStatus.SUCCEEDED, 0, "EUR")
    assert await harness.intents(payment.order_id) == []
    assert [(kind, seq, data["status"]) for kind, seq, data in await harness.published(payment.order_id)] == [
        ("payment.created", 1, "SUCCEEDED")
    ]


async def test_whatever_is_done_with_it_takes_and_gives_nothing(harness: PaymentHarness) -> None:
    new = new_payment(amount=0)
    opened = await harness.service.open(new)

    again = await harness.service.open(new)
    read = await harness.service.check(new.order_id, refresh=True)
    closed = await harness.service.close(new.order_id)
    await harness.service.void(new.order_id)

    assert [payment.status for payment in (opened, again, read, closed)] == [PaymentStatus.SUCCEEDED] * 4
    assert (await harness.stored(opened)).refunds == ()
    assert await harness.intents(new.order_id) == []
    with pytest.raises(PaymentVoided):
        await harness.service.open(new)


async def test_there_is_nothing_of_it_to_refund(harness: PaymentHarness) -> None:
    payment = await harness.opened(amount=0)

    for amount in (None, 1):
        with pytest.raises(PaymentNotRefundable, match="it was free"):
            await harness.request(payment, amount)


async def test_a_payment_that_was_opened_at_a_price_is_never_taken_for_one_of_nothing(harness: PaymentHarness) -> None:
    priced = await harness.opened("pm_card_visa")
    free = await harness.opened(amount=0)

    for payment, amount in ((priced, 0), (free, 2_599)):
        terms = {"order_id": payment.order_id, "user_id": payment.user_id, "payment_method": payment.payment_method}
        with pytest.raises(PaymentDiffers):
            await harness.service.open(new_payment(amount=amount, **terms))
    assert await harness.intents(free.order_id) == []
