"""Closing and voiding: no money stays where none belongs, and none goes back twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from domain.ids import new_id
from domain.payments import PaymentStatus
from domain.refunds import RefundStatus
from services.payment.errors import (
    PaymentNotFound,
    PaymentRejected,
    PaymentUnsettled,
    PaymentVoided,
    RefundFailed,
    RefundPending,
)
from services.payment.model import Payment
from services.payment.stripe_port import Intent, MadeRefund, StripeUnavailable
from tests.payment_rig import Rig, new_payment, payment_rig

CREATE = "payment_intents.create"
CANCEL = "payment_intents.cancel"
REFUND = "refunds.create"


@pytest.fixture
async def rig(databases: Mapping[str, str], tmp_path: Path) -> AsyncIterator[Rig]:
    async with payment_rig(databases["payment"], tmp_path) as made:
        yield made


async def stored(rig: Rig, payment: Payment) -> Payment:
    return await rig.service.check(payment.order_id, refresh=False)


async def status_at_stripe(rig: Rig, order_id: str) -> str:
    [intent] = await rig.intents(order_id)
    return intent.status


async def test_closing_cancels_the_intent(rig: Rig) -> None:
    payment = await rig.opened()

    closed = await rig.service.close(payment.order_id)

    assert (closed.status, closed.closing) == (PaymentStatus.CANCELLED, True)
    assert await status_at_stripe(rig, payment.order_id) == "canceled"
    assert (await rig.customer_pays(payment, "pm_card_visa")).status_code == 400


async def test_closing_after_the_money_came_answers_that_it_came(rig: Rig) -> None:
    payment = await rig.opened()
    await rig.customer_pays(payment, "pm_card_visa")

    closed = await rig.service.close(payment.order_id)

    assert (closed.status, closed.amount_received) == (PaymentStatus.SUCCEEDED, 2_599)


async def test_closing_an_authentication_that_nobody_completes_cancels_it(rig: Rig) -> None:
    payment = await rig.opened("pm_card_authenticationRequired")

    assert (await rig.service.close(payment.order_id)).status is PaymentStatus.CANCELLED


async def test_closing_twice_answers_the_same(rig: Rig) -> None:
    payment = await rig.opened()

    assert await rig.service.close(payment.order_id) == await rig.service.close(payment.order_id)


async def test_closing_what_was_never_opened_is_refused(rig: Rig) -> None:
    with pytest.raises(PaymentNotFound):
        await rig.service.close(new_id())


async def test_a_payment_that_is_closed_is_not_confirmed_by_a_late_open(rig: Rig) -> None:
    new = new_payment(payment_method="pm_card_visa")
    await rig.break_api("payment_intents.confirm", error_500_before=1.0)
    with pytest.raises(StripeUnavailable):
        await rig.service.open(new)
    await rig.service.close(new.order_id)
    await rig.mend_api()

    late = await rig.service.open(new)

    assert late.status is PaymentStatus.CANCELLED
    assert await rig.charges(late) == []


async def test_closing_and_paying_at_once_ends_in_one_of_the_two(rig: Rig) -> None:
    payments = [await rig.opened() for _ in range(6)]

    await asyncio.gather(
        *(rig.service.close(payment.order_id) for payment in payments),
        *(rig.customer_pays(payment, "pm_card_visa") for payment in payments),
    )

    for payment in payments:
        status = (await stored(rig, payment)).status
        at_stripe = await status_at_stripe(rig, payment.order_id)
        assert (status, at_stripe) in [
            (PaymentStatus.SUCCEEDED, "succeeded"),
            (PaymentStatus.CANCELLED, "canceled"),
        ]


@pytest.mark.parametrize("fault", ["lose_response", "error_500_before", "error_500_after"])
async def test_a_broken_cancel_is_made_good(rig: Rig, fault: str) -> None:
    payment = await rig.opened()
    await rig.break_api(CANCEL, **{fault: 1.0})
    with pytest.raises(StripeUnavailable):
        await rig.service.close(payment.order_id)
    await rig.mend_api()

    closed = await rig.service.close(payment.order_id)

    assert closed.status is PaymentStatus.CANCELLED
    assert await status_at_stripe(rig, payment.order_id) == "canceled"


@pytest.mark.parametrize("undo", ["close", "void"])
@pytest.mark.parametrize("fault", ["lose_response", "error_500_before", "error_500_after"])
async def test_an_intent_that_was_never_heard_of_is_learned_and_cancelled(rig: Rig, undo: str, fault: str) -> None:
    new = new_payment()
    await rig.break_api(CREATE, **{fault: 1.0})
    with pytest.raises(StripeUnavailable):
        await rig.service.open(new)
    await rig.mend_api()

    await getattr(rig.service, undo)(new.order_id)

    assert await status_at_stripe(rig, new.order_id) == "canceled"
    assert (await rig.service.check(new.order_id, refresh=False)).status is PaymentStatus.CANCELLED


@pytest.mark.parametrize("undo", ["close", "void"])
async def test_a_payment_for_which_stripe_makes_no_intent_ends_without_one(rig: Rig, undo: str) -> None:
    async with rig.service_that_stripe_refuses() as refused:
        new = new_payment()
        with pytest.raises(PaymentRejected):
            await refused.open(new)

        await getattr(refused, undo)(new.order_id)

    with suppress(PaymentVoided):
        await rig.service.open(new)
    payment = await rig.service.check(new.order_id, refresh=True)
    assert (payment.status, payment.intent_id) == (PaymentStatus.CANCELLED, None)
    assert await rig.intents(new.order_id) == []


async def test_voiding_nothing_leaves_a_tombstone_that_refuses_a_late_open(rig: Rig) -> None:
    new = new_payment(payment_method="pm_card_visa")

    await rig.service.void(new.order_id)
    await rig.service.void(new.order_id)

    with pytest.raises(PaymentVoided):
        await rig.service.open(new)
    tombstone = await rig.service.check(new.order_id, refresh=True)
    assert (tombstone.status, tombstone.amount, tombstone.currency) == (PaymentStatus.CANCELLED, 0, "XXX")
    assert await rig.intents(new.order_id) == []
    assert await rig.published(new.order_id) == []


async def test_voiding_an_open_payment_cancels_it(rig: Rig) -> None:
    payment = await rig.opened()

    await rig.service.void(payment.order_id)

    assert (await stored(rig, payment)).status is PaymentStatus.CANCELLED
    assert await status_at_stripe(rig, payment.order_id) == "canceled"


async def test_voiding_a_paid_payment_refunds_it_in_full(rig: Rig) -> None:
    payment = await rig.opened("pm_card_visa")

    await rig.service.void(payment.order_id)

    voided = await stored(rig, payment)
    assert (voided.status, voided.amount_refunded) == (PaymentStatus.SUCCEEDED, 2_599)
    [refund] = await rig.refunds(payment)
    [row] = await rig.rows("SELECT * FROM refunds WHERE payment_id = %(id)s", id=payment.id)
    assert (refund.amount, refund.id, row["status"]) == (2_599, row["stripe_refund_id"], "SUCCEEDED")
    assert refund.metadata is not None
    assert refund.metadata.to_dict()["refund_id"] == str(row["id"])
    kind, _, data = (await rig.published(payment.order_id))[-1]
    assert (kind, data["amountRefunded"]) == ("payment.refunded", "2599")


async def test_voiding_a_paid_payment_again_and_at_once_refunds_it_once(rig: Rig) -> None:
    payment = await rig.opened("pm_card_visa")

    await asyncio.gather(*(rig.service.void(payment.order_id) for _ in range(5)))
    await rig.service.void(payment.order_id)

    assert len(await rig.refunds(payment)) == 1


async def test_voids_by_several_processes_refund_once(rig: Rig) -> None:
    payment = await rig.opened("pm_card_visa")
    await rig.break_api(REFUND, delay_ms=(20, 60))

    await asyncio.gather(
        *(rig.another_process().payments.void(payment.order_id) for _ in range(5)), return_exceptions=True
    )
    await rig.mend_api()
    await rig.service.void(payment.order_id)

    assert len(await rig.refunds(payment)) == 1
    assert [kind for kind, _, _ in await rig.published(payment.order_id)].count("payment.refunded") == 1


@pytest.mark.parametrize("fault", ["lose_response", "error_500_before", "error_500_after"])
async def test_a_broken_refund_is_made_good_once(rig: Rig, fault: str) -> None:
    payment = await rig.opened("pm_card_visa")
    await rig.break_api(REFUND, **{fault: 1.0})
    with pytest.raises(StripeUnavailable):
        await rig.service.void(payment.order_id)
    await rig.mend_api()

    await rig.service.void(payment.order_id)

    assert (await stored(rig, payment)).amount_refunded == 2_599
    assert len(await rig.refunds(payment)) == 1


async def test_a_stored_500_that_made_no_refund_is_followed_by_a_new_key(rig: Rig) -> None:
    payment = await rig.opened("pm_card_visa")
    await rig.break_api(REFUND, error_500_after=1.0)
    with pytest.raises(StripeUnavailable):
        await rig.service.void(payment.order_id)
    [made] = await rig.refunds(payment)
    rig.forget_refund(made.id, str(made.charge))
    await rig.mend_api()

    with pytest.raises(StripeUnavailable):
        await rig.service.void(payment.order_id)
    await rig.service.void(payment.order_id)

    assert len(await rig.refunds(payment)) == 1
    assert (await stored(rig, payment)).amount_refunded == 2_599


async def test_a_refund_that_stripe_refuses_is_a_refusal_and_may_be_asked_for_again(rig: Rig) -> None:
    payment = await rig.opened("pm_card_visa")
    # Somebody gave the money back in Stripe's dashboard.
    await rig.sdk.v1.refunds.create_async({"payment_intent": payment.intent_id or ""})

    for _ in range(2):
        with pytest.raises(RefundFailed, match="already been refunded"):
            await rig.service.void(payment.order_id)

    [row] = await rig.rows("SELECT * FROM refunds WHERE payment_id = %(id)s", id=payment.id)
    assert (row["status"], row["generation"]) == ("REQUESTED", 2)


async def test_a_void_while_the_first_open_is_under_way_leaves_nothing_paid(rig: Rig) -> None:
    news = [new_payment(payment_method="pm_card_visa") for _ in range(4)]
    await rig.break_api(CREATE, "payment_intents.confirm", delay_ms=(0, 40))

    await asyncio.gather(
        *(rig.another_process().payments.open(new) for new in news),
        *(rig.another_process().payments.void(new.order_id) for new in news),
        return_exceptions=True,
    )
    await rig.mend_api()
    for new in news:
        with suppress(PaymentVoided):
            await rig.service.open(new)
        await rig.service.void(new.order_id)

    for new in news:
        payment = await rig.service.check(new.order_id, refresh=True)
        paid_and_refunded = payment.status is PaymentStatus.SUCCEEDED and payment.amount_refunded == 2_599
        assert paid_and_refunded or payment.status is PaymentStatus.CANCELLED
        assert all(intent.status in ("canceled", "succeeded") for intent in await rig.intents(new.order_id))


class SlowBank:
    """A client to whom Stripe says PROCESSING and pending, which the double's cards never are."""

    def __init__(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        self.intent_status: PaymentStatus | None = None
        self.refund_status: RefundStatus | None = None
        get_intent, find_refund = rig.client.get_intent, rig.client.find_refund

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

        async def find(*, refund_id: str, intent_id: str) -> MadeRefund | None:
            made = await find_refund(refund_id=refund_id, intent_id=intent_id)
            if made is None or self.refund_status is None:
                return made
            return MadeRefund(id=made.id, status=self.refund_status, failure_reason="lost_or_stolen_card")

        monkeypatch.setattr(rig.client, "get_intent", get)
        monkeypatch.setattr(rig.client, "find_refund", find)


async def test_a_payment_under_way_can_be_closed_but_not_voided_yet(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    payment = await rig.opened()
    bank = SlowBank(rig, monkeypatch)
    bank.intent_status = PaymentStatus.PROCESSING

    assert (await rig.service.close(payment.order_id)).status is PaymentStatus.PROCESSING
    with pytest.raises(PaymentUnsettled, match="still processing"):
        await rig.service.void(payment.order_id)

    bank.intent_status = None
    await rig.customer_pays(payment, "pm_card_visa")
    await rig.service.void(payment.order_id)
    assert (await stored(rig, payment)).amount_refunded == 2_599


async def test_a_void_waits_for_a_pending_refund_and_reports_a_failed_one(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = await rig.opened("pm_card_visa")
    bank = SlowBank(rig, monkeypatch)
    await rig.break_api(REFUND, lose_response=1.0)
    with pytest.raises(StripeUnavailable):
        await rig.service.void(payment.order_id)

    bank.refund_status = RefundStatus.PENDING
    with pytest.raises(RefundPending):
        await rig.service.void(payment.order_id)
    bank.refund_status = RefundStatus.FAILED
    for _ in range(2):
        with pytest.raises(RefundFailed, match="lost_or_stolen_card"):
            await rig.service.void(payment.order_id)

    assert len(await rig.refunds(payment)) == 1
    assert (await stored(rig, payment)).amount_refunded == 0


async def test_an_older_look_at_a_refund_does_not_undo_a_newer_one(rig: Rig) -> None:
    payment = await rig.opened("pm_card_visa")
    await rig.service.void(payment.order_id)
    refund = await rig.service._ledger.find_refund(payment)
    assert refund is not None

    older = MadeRefund(id=refund.stripe_refund_id or "", status=RefundStatus.PENDING, failure_reason=None)
    await rig.service._ledger.settle_refund(payment, refund, older)

    assert await rig.service._ledger.find_refund(payment) == refund
