"""Closing and voiding: no money stays where none belongs, and none goes back twice."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from domain.ids import new_id
from domain.payments import PaymentStatus
from domain.refunds import RefundOrigin, RefundStatus
from services.payment.payments import decisions
from services.payment.payments.errors import PaymentNotFound, PaymentUnsettled, PaymentVoided
from services.payment.payments.model import Payment
from services.payment.refunds.decisions import follow_refunds
from services.payment.stripe.errors import StripeUnavailable
from services.payment.stripe.model import Intent, StripeRefund
from tests.support.payment_harness import PaymentHarness, new_payment

CREATE = "payment_intents.create"
CANCEL = "payment_intents.cancel"
REFUND = "refunds.create"


async def stored(harness: PaymentHarness, payment: Payment) -> Payment:
    return await harness.service.check(payment.order_id, refresh=False)


async def status_at_stripe(harness: PaymentHarness, order_id: str) -> str:
    [intent] = await harness.intents(order_id)
    return intent.status


async def test_closing_cancels_the_intent(harness: PaymentHarness) -> None:
    payment = await harness.opened()

    closed = await harness.service.close(payment.order_id)

    assert (closed.status, closed.closing) == (PaymentStatus.CANCELLED, True)
    assert await status_at_stripe(harness, payment.order_id) == "canceled"
    assert await harness.customer_pays(payment, "pm_card_visa") == 400


async def test_closing_after_the_money_came_answers_that_it_came(harness: PaymentHarness) -> None:
    payment = await harness.opened()
    await harness.customer_pays(payment, "pm_card_visa")

    closed = await harness.service.close(payment.order_id)

    assert (closed.status, closed.amount_received) == (PaymentStatus.SUCCEEDED, 2_599)


async def test_closing_an_authentication_that_nobody_completes_cancels_it(harness: PaymentHarness) -> None:
    payment = await harness.opened("pm_card_authenticationRequired")

    assert (await harness.service.close(payment.order_id)).status is PaymentStatus.CANCELLED


async def test_closing_twice_answers_the_same(harness: PaymentHarness) -> None:
    payment = await harness.opened()

    assert await harness.service.close(payment.order_id) == await harness.service.close(payment.order_id)


async def test_closing_what_was_never_opened_is_refused(harness: PaymentHarness) -> None:
    with pytest.raises(PaymentNotFound):
        await harness.service.close(new_id())


async def test_a_payment_that_is_closed_is_not_confirmed_by_a_late_open(harness: PaymentHarness) -> None:
    new = new_payment(payment_method="pm_card_visa")
    harness.break_api("payment_intents.confirm", error_500_before=1.0)
    with pytest.raises(StripeUnavailable):
        await harness.service.open(new)
    await harness.service.close(new.order_id)
    harness.fix_api()

    late = await harness.service.open(new)

    assert late.status is PaymentStatus.CANCELLED
    assert await harness.charges(late) == []


@pytest.mark.parametrize("undo", ["close", "void"])
async def test_a_payment_that_is_closed_while_its_intent_is_made_is_not_confirmed(
    harness: PaymentHarness, undo: str
) -> None:
    new = new_payment(payment_method="pm_card_visa")
    decide = {"close": decisions.close, "void": decisions.void}[undo]

    async def another_process_closes() -> None:
        await harness.store.change(await harness.store.get(new.order_id), decide)

    harness.calls.after(CREATE, another_process_closes)
    late = await harness.service.open(new)

    assert (late.closing, late.status) == (True, PaymentStatus.REQUIRES_PAYMENT_METHOD)
    assert await harness.charges(late) == []


async def test_closing_and_paying_at_once_ends_in_one_of_the_two(harness: PaymentHarness) -> None:
    payments = [await harness.opened() for _ in range(6)]

    await asyncio.gather(
        *(harness.service.close(payment.order_id) for payment in payments),
        *(harness.customer_pays(payment, "pm_card_visa") for payment in payments),
    )

    for payment in payments:
        status = (await stored(harness, payment)).status
        at_stripe = await status_at_stripe(harness, payment.order_id)
        assert (status, at_stripe) in [
            (PaymentStatus.SUCCEEDED, "succeeded"),
            (PaymentStatus.CANCELLED, "canceled"),
        ]


@pytest.mark.parametrize("fault", ["lose_response", "error_429", "error_500_before", "error_500_after"])
async def test_a_broken_cancel_is_made_good(harness: PaymentHarness, fault: str) -> None:
    payment = await harness.opened()
    harness.break_api(CANCEL, **{fault: 1.0})
    with pytest.raises(StripeUnavailable):
        await harness.service.close(payment.order_id)
    harness.fix_api()

    closed = await harness.service.close(payment.order_id)

    assert closed.status is PaymentStatus.CANCELLED
    assert await status_at_stripe(harness, payment.order_id) == "canceled"


@pytest.mark.parametrize("undo", ["close", "void"])
@pytest.mark.parametrize("fault", ["lose_response", "error_429", "error_500_before", "error_500_after"])
async def test_an_intent_that_was_never_heard_of_is_found_and_cancelled(
    harness: PaymentHarness, undo: str, fault: str
) -> None:
    new = new_payment()
    harness.break_api(CREATE, **{fault: 1.0})
    with pytest.raises(StripeUnavailable):
        await harness.service.open(new)
    harness.fix_api()

    await getattr(harness.service, undo)(new.order_id)

    assert await status_at_stripe(harness, new.order_id) == "canceled"
    assert (await harness.service.check(new.order_id, refresh=False)).status is PaymentStatus.CANCELLED


@pytest.mark.parametrize("undo", ["close", "void"])
async def test_a_payment_for_which_stripe_makes_no_intent_ends_without_one(harness: PaymentHarness, undo: str) -> None:
    refused, new = await harness.service_that_stripe_refuses(), new_payment()
    with pytest.raises(StripeUnavailable, match="ORDERSAGA_STRIPE_PAYMENT_METHOD_TYPES"):
        await refused.open(new)

    await getattr(refused, undo)(new.order_id)

    with suppress(PaymentVoided):
        await harness.service.open(new)
    payment = await harness.service.check(new.order_id, refresh=True)
    assert (payment.status, payment.intent_id) == (PaymentStatus.CANCELLED, None)
    assert await harness.intents(new.order_id) == []


async def test_voiding_nothing_leaves_a_tombstone_that_refuses_a_late_open(harness: PaymentHarness) -> None:
    new = new_payment(payment_method="pm_card_visa")

    await harness.service.void(new.order_id)
    await harness.service.void(new.order_id)

    with pytest.raises(PaymentVoided):
        await harness.service.open(new)
    tombstone = await harness.service.check(new.order_id, refresh=True)
    assert (tombstone.status, tombstone.amount, tombstone.currency) == (PaymentStatus.CANCELLED, 0, "XXX")
    assert await harness.intents(new.order_id) == []
    assert await harness.published(new.order_id) == []


async def test_voiding_an_open_payment_cancels_it(harness: PaymentHarness) -> None:
    payment = await harness.opened()

    await harness.service.void(payment.order_id)

    assert (await stored(harness, payment)).status is PaymentStatus.CANCELLED
    assert await status_at_stripe(harness, payment.order_id) == "canceled"


async def test_voiding_a_paid_payment_makes_a_full_refund_due_and_does_not_wait(
    harness: PaymentHarness,
) -> None:
    payment = await harness.opened("pm_card_visa")

    await harness.service.void(payment.order_id)

    voided = await stored(harness, payment)
    [due] = voided.refunds
    assert (voided.status, voided.amount_refunded, voided.amount_refundable) == (PaymentStatus.SUCCEEDED, 0, 0)
    assert (due.origin, due.amount, due.status) == (RefundOrigin.VOID, 2_599, RefundStatus.REQUESTED)
    await harness.follow_up()
    assert harness.sagas.refunds == [(due.id, True)]
    assert await harness.refunds(payment) == []


async def test_what_is_due_after_a_void_is_given_back_in_full(harness: PaymentHarness) -> None:
    payment = await harness.opened("pm_card_visa")
    await harness.service.void(payment.order_id)

    given_back = await harness.run_sagas(payment)

    [due] = given_back.refunds
    [made] = await harness.refunds(payment)
    assert (given_back.amount_refunded, due.status, due.saga_open) == (2_599, RefundStatus.SUCCEEDED, False)
    assert (made.amount, made.id) == (2_599, due.stripe_refund_id)
    assert made.metadata is not None
    assert made.metadata.to_dict()["refund_id"] == due.id
    kind, _, data = (await harness.published(payment.order_id))[-1]
    assert (kind, data["amountRefunded"], data["refundId"]) == ("payment.refunded", "2599", due.id)


async def test_a_void_while_temporal_is_away_makes_the_refund_due_and_its_saga_is_started_later(
    harness: PaymentHarness,
) -> None:
    payment = await harness.opened("pm_card_visa")
    harness.sagas.is_away = True

    await harness.service.void(payment.order_id)
    await harness.follow_up()
    harness.sagas.is_away = False
    await harness.make_follow_ups_due()
    await harness.follow_up()

    [due] = (await stored(harness, payment)).refunds
    assert harness.sagas.refunds == [(due.id, True)]


async def test_voiding_a_paid_payment_again_and_at_once_refunds_it_once(harness: PaymentHarness) -> None:
    payment = await harness.opened("pm_card_visa")

    await asyncio.gather(*(harness.service.void(payment.order_id) for _ in range(5)))
    await harness.run_sagas(payment)
    await harness.service.void(payment.order_id)
    await harness.run_sagas(payment)

    assert len((await stored(harness, payment)).refunds) == len(await harness.refunds(payment)) == 1


async def test_voids_by_several_processes_refund_once(harness: PaymentHarness) -> None:
    payment = await harness.opened("pm_card_visa")
    processes = [await harness.another_process() for _ in range(5)]
    harness.break_api(REFUND, delay_ms=(20, 60))

    await asyncio.gather(*(process.payments.void(payment.order_id) for process in processes))
    [due] = (await stored(harness, payment)).refunds
    await asyncio.gather(*(process.refunds.carry_out(due.id) for process in processes), return_exceptions=True)
    harness.fix_api()
    await harness.service.void(payment.order_id)
    await harness.run_sagas(payment)

    assert len(await harness.refunds(payment)) == 1
    assert [kind for kind, _, _ in await harness.published(payment.order_id)].count("payment.refunded") == 1


@pytest.mark.parametrize("fault", ["lose_response", "error_429", "error_500_before", "error_500_after"])
async def test_a_broken_refund_is_made_good_once(harness: PaymentHarness, fault: str) -> None:
    payment = await harness.opened("pm_card_visa")
    await harness.service.void(payment.order_id)
    harness.break_api(REFUND, **{fault: 1.0})
    with pytest.raises(StripeUnavailable):
        await harness.run_sagas(payment)
    harness.fix_api()

    await harness.run_sagas(payment)

    assert (await stored(harness, payment)).amount_refunded == 2_599
    assert len(await harness.refunds(payment)) == 1


async def test_a_stored_500_that_made_no_refund_is_followed_by_a_new_key(harness: PaymentHarness) -> None:
    payment = await harness.opened("pm_card_visa")
    await harness.service.void(payment.order_id)
    harness.break_api(REFUND, error_500_after=1.0)
    with pytest.raises(StripeUnavailable):
        await harness.run_sagas(payment)
    [made] = await harness.refunds(payment)
    harness.forget_refund(made.id, str(made.charge))
    harness.fix_api()

    with pytest.raises(StripeUnavailable):
        await harness.run_sagas(payment)
    await harness.run_sagas(payment)

    assert len(await harness.refunds(payment)) == 1
    assert (await stored(harness, payment)).amount_refunded == 2_599


async def test_money_that_the_dashboard_gave_back_before_the_void_is_not_given_back_again(
    harness: PaymentHarness,
) -> None:
    payment = await harness.opened("pm_card_visa")
    await harness.refund_in_dashboard(payment)
    await harness.service.void(payment.order_id)

    given_back = await harness.run_sagas(payment)

    assert sorted((refund.origin, refund.status) for refund in given_back.refunds) == [
        (RefundOrigin.STRIPE, RefundStatus.SUCCEEDED),
        (RefundOrigin.VOID, RefundStatus.REPLACED),
    ]
    assert given_back.amount_refunded == 2_599
    assert not any(refund.saga_open for refund in given_back.refunds)
    assert len(await harness.refunds(payment)) == 1


async def test_a_due_refund_that_stripe_refuses_has_failed_and_is_due_until_a_person_acts(
    harness: PaymentHarness,
) -> None:
    payment = await harness.opened("pm_card_visa")
    [charge] = await harness.charges(payment)
    harness.refuse_refunds(charge)
    await harness.service.void(payment.order_id)

    for _ in range(2):
        await harness.run_sagas(payment)
        await harness.service.void(payment.order_id)

    [due] = (await stored(harness, payment)).refunds
    assert (due.status, due.saga_open) == (RefundStatus.FAILED, True)
    assert "successful charge" in (due.failure_reason or "")
    assert (await harness.published(payment.order_id))[-1][0] == "payment.refund_failed"

    harness.allow_refunds(charge)
    await harness.refund_service.replace_failed(due.id)
    given_back = await harness.run_sagas(payment)
    assert [refund.status for refund in given_back.refunds] == [RefundStatus.REPLACED, RefundStatus.SUCCEEDED]
    assert (given_back.amount_refunded, len(await harness.refunds(payment))) == (2_599, 1)


async def test_a_void_while_the_first_open_is_under_way_leaves_nothing_paid(harness: PaymentHarness) -> None:
    new_payments = [new_payment(payment_method="pm_card_visa") for _ in range(4)]
    harness.break_api(CREATE, "payment_intents.confirm", delay_ms=(0, 40))

    opening = [(await harness.another_process()).payments for _ in new_payments]
    voiding = [(await harness.another_process()).payments for _ in new_payments]
    await asyncio.gather(
        *(process.open(new) for process, new in zip(opening, new_payments, strict=True)),
        *(process.void(new.order_id) for process, new in zip(voiding, new_payments, strict=True)),
        return_exceptions=True,
    )
    harness.fix_api()
    for new in new_payments:
        with suppress(PaymentVoided):
            await harness.service.open(new)
        await harness.service.void(new.order_id)
        await harness.run_sagas(await harness.service.check(new.order_id, refresh=False))

    for new in new_payments:
        payment = await harness.service.check(new.order_id, refresh=True)
        paid_and_refunded = payment.status is PaymentStatus.SUCCEEDED and payment.amount_refunded == 2_599
        assert paid_and_refunded or payment.status is PaymentStatus.CANCELLED
        assert all(intent.status in ("canceled", "succeeded") for intent in await harness.intents(new.order_id))


class SlowBank:
    """A client to whom Stripe says PROCESSING, which no intent of the double's cards ever is."""

    def __init__(self, harness: PaymentHarness, monkeypatch: pytest.MonkeyPatch) -> None:
        self.intent_status: PaymentStatus | None = None
        get_intent = harness.client.get_intent

        async def get(intent_id: str) -> Intent:
            intent = await get_intent(intent_id)
            if self.intent_status is None:
                return intent
            return Intent(
                id=intent.id,
                status=self.intent_status,
                amount_received=0,
                currency=intent.currency,
                may_have_failed_charges=False,
            )

        monkeypatch.setattr(harness.client, "get_intent", get)


async def test_a_payment_under_way_can_be_closed_but_not_voided_yet(
    harness: PaymentHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = await harness.opened()
    bank = SlowBank(harness, monkeypatch)
    bank.intent_status = PaymentStatus.PROCESSING

    assert (await harness.service.close(payment.order_id)).status is PaymentStatus.PROCESSING
    with pytest.raises(PaymentUnsettled, match="still processing"):
        await harness.service.void(payment.order_id)
    assert (await stored(harness, payment)).refunds == ()

    bank.intent_status = None
    await harness.customer_pays(payment, "pm_card_visa")
    await harness.service.void(payment.order_id)
    assert (await harness.run_sagas(payment)).amount_refunded == 2_599


async def test_a_due_refund_may_be_pending_and_may_fail_and_is_made_once(harness: PaymentHarness) -> None:
    payment = await harness.opened("pm_card_pendingRefund")
    await harness.service.void(payment.order_id)
    for _ in range(2):
        [pending] = (await harness.run_sagas(payment)).refunds
        assert (pending.status, pending.saga_open) == (RefundStatus.PENDING, True)

    harness.move_refund(pending.stripe_refund_id, "failed", failure_reason="lost_or_stolen_card")
    for _ in range(2):
        [failed] = (await harness.run_sagas(payment)).refunds
        assert (failed.status, failed.failure_reason) == (RefundStatus.FAILED, "lost_or_stolen_card")

    assert len(await harness.refunds(payment)) == 1
    assert (await stored(harness, payment)).amount_refunded == 0


async def test_an_older_look_at_a_refund_does_not_undo_a_newer_one(harness: PaymentHarness) -> None:
    payment = await harness.opened("pm_card_visa")
    await harness.service.void(payment.order_id)
    before = await stored(harness, payment)
    after = await harness.run_sagas(payment)
    [refund] = after.refunds

    older = StripeRefund(
        id=refund.stripe_refund_id or "",
        status=RefundStatus.PENDING,
        failure_reason=None,
        amount=refund.amount,
        currency=refund.currency,
        created_at=refund.created_at,
        refund_id=refund.id,
    )
    applied = await harness.store.apply(before, follow_refunds(before, [older]))

    assert applied is None
    assert await stored(harness, payment) == after
