"""Re-reads of a payment are applied in the order in which Stripe was asked, and each failed charge is counted once."""

from __future__ import annotations

import asyncio

import pytest

from domain.payments import PaymentStatus
from domain.refunds import RefundStatus
from services.payment.payments.decisions import follow_intent
from tests.support.payment_harness import PaymentHarness

RETRIEVE, CHARGES = "payment_intents.retrieve", "charges.list"
VISA, DECLINED, AUTHENTICATION = "pm_card_visa", "pm_card_chargeDeclined", "pm_card_authenticationRequired"
SUCCEEDED, FAILED = "payment_intent.succeeded", "payment_intent.payment_failed"


class Held:
    """An answer of Stripe's that is under way for as long as a test wants."""

    def __init__(self, harness: PaymentHarness, operation: str) -> None:
        self.given = asyncio.Event()
        self._let_go = asyncio.Event()
        harness.calls.after(operation, self._hold)

    def let_go(self) -> None:
        self._let_go.set()

    async def _hold(self) -> None:
        self.given.set()
        await self._let_go.wait()


async def test_a_late_re_read_never_overwrites_a_newer_one(harness: PaymentHarness) -> None:
    payment = await harness.opened()
    stripe_then = await harness.client.get_intent(payment.intent_id or "")
    await harness.customer_pays(payment, AUTHENTICATION)
    newer = await harness.service.check(payment.order_id, refresh=True)

    applied = await harness.store.apply(payment, follow_intent(payment, stripe_then, []))

    assert applied is None
    assert await harness.service.check(payment.order_id, refresh=False) == newer


async def test_a_late_re_read_never_undoes_a_newer_one_that_found_no_change(harness: PaymentHarness) -> None:
    payment = await harness.opened()
    await harness.customer_pays(payment, AUTHENTICATION)
    held = Held(harness, RETRIEVE)
    slow = asyncio.create_task(harness.service.check(payment.order_id, refresh=True))
    await held.given.wait()  # that the payment requires an action
    harness.authenticate(payment, succeeds=False)

    quick = await (await harness.another_process()).payments.check(payment.order_id, refresh=True)
    held.let_go()
    late = await slow

    assert quick.status is late.status is PaymentStatus.REQUIRES_PAYMENT_METHOD
    assert (await harness.stored(payment)).status is PaymentStatus.REQUIRES_PAYMENT_METHOD


async def test_a_late_list_of_refunds_never_undoes_a_newer_one(harness: PaymentHarness) -> None:
    payment = await harness.opened("pm_card_pendingRefund")
    refund = await harness.refunded(payment, 600)
    pending = await harness.stored(payment)
    held = Held(harness, "refunds.list")
    slow = asyncio.create_task(harness.refund_service.catch_up(pending))
    await held.given.wait()  # that the refund is pending
    harness.move_refund(refund.stripe_refund_id, "succeeded")
    await (await harness.another_process()).refunds.catch_up(pending)

    held.let_go()
    await slow

    assert (await harness.stored(payment)).get_refund(refund.id).status is RefundStatus.SUCCEEDED


async def test_a_late_list_of_disputes_never_undoes_a_newer_one_that_found_no_change(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)
    dispute_id = await harness.dispute(payment)
    await harness.hear("charge.dispute.created")
    harness.move_in_currency(dispute_id, "eur", -2_599, 2_599)
    held = Held(harness, "disputes.list")
    slow = asyncio.create_task(harness.components.disputes.check(dispute_id))
    await held.given.wait()  # that the money was reinstated
    harness.move_in_currency(dispute_id, "eur", -2_599, 2_599, -2_599)
    await (await harness.another_process()).disputes.check(dispute_id)

    held.let_go()
    await slow

    assert (await harness.the_dispute(payment)).withdrawn == 2_599


@pytest.mark.parametrize("order", [(SUCCEEDED, FAILED), (FAILED, SUCCEEDED)], ids=["success first", "failure first"])
async def test_a_declined_charge_before_a_good_one_counts_whichever_is_heard_of_first(
    harness: PaymentHarness, order: tuple[str, str]
) -> None:
    payment = await harness.opened()
    await harness.customer_pays(payment, DECLINED)
    await harness.customer_pays(payment, VISA)

    for event_type in order:
        await harness.hear(event_type)
    await harness.hear()

    paid = await harness.stored(payment)
    assert (paid.status, paid.failed_attempts, paid.amount_received) == (PaymentStatus.SUCCEEDED, 1, 2_599)
    [attempt] = await harness.rows("SELECT * FROM payment_attempts WHERE payment_id = %(id)s", id=payment.id)
    assert attempt["decline_code"] == "generic_decline"
    published = await harness.published(payment.order_id)
    assert [seq for _, seq, _ in published] == list(range(1, len(published) + 1))
    assert published[-1][2]["failedAttempts"] == 1


async def test_a_declined_charge_before_a_good_one_counts_though_its_webhooks_were_lost(
    harness: PaymentHarness,
) -> None:
    payment = await harness.opened()
    await harness.customer_pays(payment, DECLINED)
    await harness.customer_pays(payment, VISA)
    seen = await harness.service.check(payment.order_id, refresh=True)

    await harness.sweep()

    assert (seen.status, (await harness.stored(payment)).failed_attempts) == (PaymentStatus.SUCCEEDED, 1)


async def test_an_order_that_is_paid_by_its_first_charge_costs_no_look_at_charges(harness: PaymentHarness) -> None:
    at_once = await harness.opened(VISA)
    await harness.hear()
    confirmed_here = list(harness.calls.made)
    harness.calls.made.clear()

    later = await harness.opened()
    await harness.customer_pays(later, VISA)
    await harness.hear()

    assert confirmed_here == ["payment_intents.create", "payment_intents.confirm"]
    assert harness.calls.made == ["payment_intents.create", RETRIEVE]
    assert {(await harness.stored(payment)).status for payment in (at_once, later)} == {PaymentStatus.SUCCEEDED}
