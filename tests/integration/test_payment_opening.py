"""Opening a payment makes one intent and takes the money once, whatever is repeated, lost or answered with 500."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from domain.ids import new_id
from domain.payments import PaymentStatus
from runtime.caller import SERVICE, Caller, CallerRole
from services.payment.errors import PaymentDiffers, PaymentNotFound, PaymentRejected, PaymentVoided
from services.payment.stripe_port import StripeKeySpent, StripeUnavailable
from tests.payment_rig import Rig, new_payment, payment_rig

CREATE = "payment_intents.create"
CONFIRM = "payment_intents.confirm"


@pytest.fixture
async def rig(databases: Mapping[str, str], tmp_path: Path) -> AsyncIterator[Rig]:
    async with payment_rig(databases["payment"], tmp_path) as made:
        yield made


async def test_without_a_payment_method_the_intent_waits_unconfirmed(rig: Rig) -> None:
    payment = await rig.opened()

    [intent] = await rig.intents(payment.order_id)
    assert payment.status is PaymentStatus.REQUIRES_PAYMENT_METHOD
    assert (intent.id, intent.amount, intent.currency, intent.status) == (
        payment.intent_id,
        2_599,
        "eur",
        "requires_payment_method",
    )
    assert intent.payment_method_types == ["card"]
    assert intent.metadata.to_dict() == {"app": "ordersaga", "order_id": payment.order_id, "payment_id": payment.id}


async def test_with_a_payment_method_the_money_is_taken(rig: Rig) -> None:
    payment = await rig.opened("pm_card_visa")

    assert (payment.status, payment.amount_received, payment.currency_received) == (
        PaymentStatus.SUCCEEDED,
        2_599,
        "EUR",
    )
    assert [(kind, seq, data["status"]) for kind, seq, data in await rig.published(payment.order_id)] == [
        ("payment.created", 1, "OPENING"),
        ("payment.status-updated", 2, "REQUIRES_PAYMENT_METHOD"),
        ("payment.status-updated", 3, "SUCCEEDED"),
    ]


async def test_a_card_that_wants_authentication_leaves_the_payment_requiring_action(rig: Rig) -> None:
    payment = await rig.opened("pm_card_authenticationRequired")

    assert (payment.status, payment.failed_attempts) == (PaymentStatus.REQUIRES_ACTION, 0)


async def test_a_stored_answer_is_not_taken_for_the_present(rig: Rig) -> None:
    new = new_payment(payment_method="pm_card_authenticationRequired")
    opened = await rig.service.open(new)
    await rig.authentication_fails(opened)

    # Confirms with the same key, for which Stripe has stored that the customer is to authenticate.
    again = await rig.service.open(new)

    assert (opened.status, again.status) == (PaymentStatus.REQUIRES_ACTION, PaymentStatus.REQUIRES_PAYMENT_METHOD)


async def test_a_declined_card_is_an_answer_and_counts_once(rig: Rig) -> None:
    new = new_payment(payment_method="pm_card_chargeDeclined")

    payment = await rig.service.open(new)
    again = await rig.service.open(replace(new, id=new_id()))

    assert (payment.status, payment.failed_attempts) == (PaymentStatus.REQUIRES_PAYMENT_METHOD, 1)
    assert again == payment
    assert len(await rig.charges(payment)) == 1
    [attempt] = await rig.rows("SELECT * FROM payment_attempts WHERE payment_id = %(id)s", id=payment.id)
    assert attempt["decline_code"] == "generic_decline"


async def test_a_repeated_open_is_the_same_payment(rig: Rig) -> None:
    new = new_payment(payment_method="pm_card_visa")

    first = await rig.service.open(new)
    second = await rig.service.open(replace(new, id=new_id()))

    assert second == first
    assert len(await rig.intents(new.order_id)) == 1
    assert len(await rig.charges(first)) == 1


async def test_concurrent_opens_make_one_intent_and_one_charge(rig: Rig) -> None:
    new = new_payment(payment_method="pm_card_visa")

    payments = await asyncio.gather(*(rig.service.open(replace(new, id=new_id())) for _ in range(8)))

    assert len({payment.id for payment in payments}) == 1
    assert len(await rig.intents(new.order_id)) == 1
    assert [charge.status for charge in await rig.charges(payments[0])] == ["succeeded"]


async def test_opens_by_several_processes_make_one_intent_and_one_charge(rig: Rig) -> None:
    new = new_payment(payment_method="pm_card_visa")
    await rig.break_api(CREATE, CONFIRM, delay_ms=(20, 60))

    await asyncio.gather(
        *(rig.another_process().payments.open(replace(new, id=new_id())) for _ in range(5)), return_exceptions=True
    )
    await rig.mend_api()
    payment = await rig.service.open(new)

    assert payment.status is PaymentStatus.SUCCEEDED
    assert len(await rig.intents(new.order_id)) == 1
    assert [charge.status for charge in await rig.charges(payment)] == ["succeeded"]


@pytest.mark.parametrize("operation", [CREATE, CONFIRM])
@pytest.mark.parametrize("fault", ["lose_response", "error_429", "error_500_before", "error_500_after"])
async def test_a_broken_call_is_made_good_without_a_second_intent_or_charge(
    rig: Rig, operation: str, fault: str
) -> None:
    new = new_payment(payment_method="pm_card_visa")
    await rig.break_api(operation, **{fault: 1.0})
    with suppress(StripeUnavailable):
        await rig.service.open(new)
    await rig.mend_api()

    payment = await rig.service.open(new)

    assert (payment.status, payment.amount_received) == (PaymentStatus.SUCCEEDED, 2_599)
    assert len(await rig.intents(new.order_id)) == 1
    assert [charge.status for charge in await rig.charges(payment)] == ["succeeded"]


async def test_a_confirm_whose_answer_is_lost_is_re_read_at_once(rig: Rig) -> None:
    await rig.break_api(CONFIRM, lose_response=1.0)

    payment = await rig.opened("pm_card_visa")

    assert payment.status is PaymentStatus.SUCCEEDED


async def test_a_stored_500_that_made_no_intent_is_followed_by_a_new_key(rig: Rig) -> None:
    new = new_payment()
    await rig.break_api(CREATE, error_500_after=1.0)
    with pytest.raises(StripeUnavailable):
        await rig.service.open(new)
    [made] = await rig.intents(new.order_id)
    # As if Stripe had stored its failure before it made anything.
    rig.forget_intent(made.id)
    await rig.mend_api()

    with pytest.raises(StripeKeySpent):
        await rig.service.open(new)
    payment = await rig.service.open(new)

    assert (payment.status, payment.generation) == (PaymentStatus.REQUIRES_PAYMENT_METHOD, 1)
    assert len(await rig.intents(new.order_id)) == 1


async def test_a_stored_500_that_charged_nothing_is_followed_by_a_new_key(rig: Rig) -> None:
    new = new_payment(payment_method="pm_card_visa")
    await rig.break_api(CONFIRM, "payment_intents.retrieve", error_500_after=1.0)
    with pytest.raises(StripeUnavailable):
        await rig.service.open(new)
    [intent] = await rig.intents(new.order_id)
    # As if Stripe had stored its failure before it charged anything.
    rig.forget_charges(intent.id)
    await rig.mend_api()

    with pytest.raises(StripeKeySpent):
        await rig.service.open(new)
    payment = await rig.service.open(new)

    assert (payment.status, payment.generation) == (PaymentStatus.SUCCEEDED, 1)
    assert len(await rig.charges(payment)) == 1


async def test_a_key_that_stripe_may_have_forgotten_is_not_used_before_a_look(rig: Rig) -> None:
    new = new_payment()
    await rig.break_api(CREATE, lose_response=1.0)
    with pytest.raises(StripeUnavailable):
        await rig.service.open(new)
    await rig.mend_api()
    await rig.age_generation(new.order_id, timedelta(hours=30))
    rig.forget_keys()

    payment = await rig.service.open(new)

    [intent] = await rig.intents(new.order_id)
    assert payment.intent_id == intent.id


@pytest.mark.parametrize(
    "change", [{"amount": 2_600}, {"currency": "USD"}, {"payment_method": "pm_card_visa"}, {"user_id": new_id()}]
)
async def test_another_payment_for_the_same_order_is_refused(rig: Rig, change: dict[str, object]) -> None:
    new = new_payment()
    await rig.service.open(new)

    with pytest.raises(PaymentDiffers):
        await rig.service.open(new_payment(**{**_terms(new), **change}))

    assert len(await rig.intents(new.order_id)) == 1


async def test_an_unknown_payment_method_is_rejected_in_stripes_words(rig: Rig) -> None:
    new = new_payment(payment_method="pm_nobody")

    with pytest.raises(PaymentRejected, match="No such PaymentMethod: 'pm_nobody'"):
        await rig.service.open(new)

    [intent] = await rig.intents(new.order_id)
    assert intent.status == "requires_payment_method"


async def test_an_amount_below_stripes_minimum_leaves_no_payment(rig: Rig) -> None:
    new = new_payment(amount=49)

    with pytest.raises(PaymentRejected, match=r"Stripe charges 0\.50 EUR at least"):
        await rig.service.open(new)

    with pytest.raises(PaymentNotFound):
        await rig.service.check(new.order_id, refresh=False)


async def test_an_open_after_a_void_is_refused(rig: Rig) -> None:
    new = new_payment(payment_method="pm_card_visa")
    await rig.service.void(new.order_id)

    with pytest.raises(PaymentVoided):
        await rig.service.open(new)

    assert await rig.intents(new.order_id) == []


async def test_a_refreshed_check_sees_what_the_customer_did_and_the_stored_one_does_not(rig: Rig) -> None:
    payment = await rig.opened()
    await rig.customer_pays(payment, "pm_card_visa")

    stored = await rig.service.check(payment.order_id, refresh=False)
    refreshed = await rig.service.check(payment.order_id, refresh=True)

    assert (stored.status, refreshed.status) == (PaymentStatus.REQUIRES_PAYMENT_METHOD, PaymentStatus.SUCCEEDED)


async def test_two_declines_between_two_re_reads_are_both_counted(rig: Rig) -> None:
    payment = await rig.opened()
    await rig.customer_pays(payment, "pm_card_chargeDeclined")
    await rig.customer_pays(payment, "pm_card_chargeDeclinedInsufficientFunds")

    refreshed = await rig.service.check(payment.order_id, refresh=True)
    again = await rig.service.check(payment.order_id, refresh=True)

    assert refreshed.failed_attempts == 2
    assert again == refreshed


async def test_a_failed_charge_before_an_open_authentication_is_counted(rig: Rig) -> None:
    payment = await rig.opened()
    await rig.customer_pays(payment, "pm_card_chargeDeclined")
    await rig.customer_pays(payment, "pm_card_authenticationRequired")

    refreshed = await rig.service.check(payment.order_id, refresh=True)

    assert (refreshed.status, refreshed.failed_attempts) == (PaymentStatus.REQUIRES_ACTION, 1)


async def test_a_late_re_read_never_overwrites_a_newer_one(rig: Rig) -> None:
    payment = await rig.opened()
    stripe_then = await rig.client.get_intent(payment.intent_id or "")
    await rig.customer_pays(payment, "pm_card_authenticationRequired")
    newer = await rig.service.check(payment.order_id, refresh=True)

    applied = await rig.service._ledger.apply(payment, stripe_then, [])

    assert applied is None
    assert await rig.service.check(payment.order_id, refresh=False) == newer


async def test_the_client_secret_is_shown_to_the_owner_and_stored_nowhere(rig: Rig) -> None:
    payment = await rig.opened()
    [intent] = await rig.intents(payment.order_id)
    owner = Caller(CallerRole.CUSTOMER, payment.user_id or "")

    assert await rig.service.client_secret(payment.order_id, owner) == intent.client_secret
    assert await rig.service.client_secret(payment.order_id, SERVICE) == intent.client_secret
    with pytest.raises(PaymentNotFound):
        await rig.service.client_secret(payment.order_id, Caller(CallerRole.CUSTOMER, new_id()))
    [row] = await rig.rows("SELECT p::text AS dump FROM payments p WHERE id = %(id)s", id=payment.id)
    assert "_secret_" not in row["dump"]


async def test_there_is_no_client_secret_once_the_payment_is_decided(rig: Rig) -> None:
    paid = await rig.opened("pm_card_visa")
    closed = await rig.opened()
    await rig.service.close(closed.order_id)
    paid_elsewhere = await rig.opened()
    await rig.customer_pays(paid_elsewhere, "pm_card_visa")

    for payment in (paid, closed, paid_elsewhere):
        assert await rig.service.client_secret(payment.order_id, SERVICE) == ""


def _terms(new: object) -> dict[str, object]:
    return {name: getattr(new, name) for name in ("order_id", "user_id", "amount", "currency", "payment_method")}
