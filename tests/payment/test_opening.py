"""Opening a payment makes one intent and takes the money once, whatever is repeated, lost or answered with 500."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest

from domain.ids import new_id
from domain.payments import PaymentStatus
from runtime.caller import SERVICE, Caller, CallerRole
from services.payment.payments.errors import PaymentDiffers, PaymentNotFound, PaymentVoided
from services.payment.stripe.errors import PaymentRejected, StripeKeySpent, StripeUnavailable
from tests.support.payment_harness import PaymentHarness, new_payment, payment_harness

CREATE = "payment_intents.create"
CONFIRM = "payment_intents.confirm"


async def test_without_a_payment_method_the_intent_waits_unconfirmed(harness: PaymentHarness) -> None:
    payment = await harness.opened()

    [intent] = await harness.intents(payment.order_id)
    assert payment.status is PaymentStatus.REQUIRES_PAYMENT_METHOD
    assert (intent.id, intent.amount, intent.currency, intent.status) == (
        payment.intent_id,
        2_599,
        "eur",
        "requires_payment_method",
    )
    assert intent.payment_method_types == harness.settings.stripe_payment_method_types
    assert intent.metadata.to_dict() == {"app": "ordersaga", "order_id": payment.order_id, "payment_id": payment.id}


async def test_a_type_that_stripe_does_not_know_delays_orders_and_fails_none(databases: Mapping[str, str]) -> None:
    async with payment_harness(databases["payment"], stripe_payment_method_types=["giropey"]) as harness:
        with pytest.raises(StripeUnavailable, match=r"ORDERSAGA_STRIPE_PAYMENT_METHOD_TYPES: .*giropey"):
            await harness.opened()


async def test_with_a_payment_method_the_money_is_taken(harness: PaymentHarness) -> None:
    payment = await harness.opened("pm_card_visa")

    assert (payment.status, payment.amount_received, payment.currency_received) == (
        PaymentStatus.SUCCEEDED,
        2_599,
        "EUR",
    )
    assert [(kind, seq, data["status"]) for kind, seq, data in await harness.published(payment.order_id)] == [
        ("payment.created", 1, "OPENING"),
        ("payment.status_updated", 2, "REQUIRES_PAYMENT_METHOD"),
        ("payment.status_updated", 3, "SUCCEEDED"),
    ]


async def test_a_card_that_wants_authentication_leaves_the_payment_requiring_action(harness: PaymentHarness) -> None:
    payment = await harness.opened("pm_card_authenticationRequired")

    assert (payment.status, payment.failed_attempts) == (PaymentStatus.REQUIRES_ACTION, 0)


async def test_a_stored_answer_is_not_taken_for_the_present(harness: PaymentHarness) -> None:
    new = new_payment(payment_method="pm_card_authenticationRequired")
    opened = await harness.service.open(new)
    harness.authenticate(opened, succeeds=False)

    # Confirms with the same key, for which Stripe has stored that the customer is to authenticate.
    again = await harness.service.open(new)

    assert (opened.status, again.status) == (PaymentStatus.REQUIRES_ACTION, PaymentStatus.REQUIRES_PAYMENT_METHOD)


async def test_a_declined_card_is_an_answer_and_counts_once(harness: PaymentHarness) -> None:
    new = new_payment(payment_method="pm_card_chargeDeclined")

    payment = await harness.service.open(new)
    again = await harness.service.open(replace(new, id=new_id()))

    assert (payment.status, payment.failed_attempts) == (PaymentStatus.REQUIRES_PAYMENT_METHOD, 1)
    assert again == payment.change(version=again.version)  # of which each re-read makes another one
    assert len(await harness.charges(payment)) == 1
    [attempt] = await harness.rows("SELECT * FROM payment_attempts WHERE payment_id = %(id)s", id=payment.id)
    assert attempt["decline_code"] == "generic_decline"


async def test_a_repeated_open_is_the_same_payment(harness: PaymentHarness) -> None:
    new = new_payment(payment_method="pm_card_visa")

    first = await harness.service.open(new)
    second = await harness.service.open(replace(new, id=new_id()))

    assert second == first
    assert len(await harness.intents(new.order_id)) == 1
    assert len(await harness.charges(first)) == 1


async def test_concurrent_opens_make_one_intent_and_one_charge(harness: PaymentHarness) -> None:
    new = new_payment(payment_method="pm_card_visa")

    payments = await asyncio.gather(*(harness.service.open(replace(new, id=new_id())) for _ in range(8)))

    assert len({payment.id for payment in payments}) == 1
    assert len(await harness.intents(new.order_id)) == 1
    assert [charge.status for charge in await harness.charges(payments[0])] == ["succeeded"]


async def test_opens_by_several_processes_make_one_intent_and_one_charge(harness: PaymentHarness) -> None:
    new = new_payment(payment_method="pm_card_visa")
    harness.break_api(CREATE, CONFIRM, delay_ms=(20, 60))

    processes = [(await harness.another_process()).payments for _ in range(5)]
    await asyncio.gather(*(process.open(replace(new, id=new_id())) for process in processes), return_exceptions=True)
    harness.fix_api()
    payment = await harness.service.open(new)

    assert payment.status is PaymentStatus.SUCCEEDED
    assert len(await harness.intents(new.order_id)) == 1
    assert [charge.status for charge in await harness.charges(payment)] == ["succeeded"]


@pytest.mark.parametrize("operation", [CREATE, CONFIRM])
@pytest.mark.parametrize("fault", ["lose_response", "error_429", "error_500_before", "error_500_after"])
async def test_a_broken_call_is_made_good_without_a_second_intent_or_charge(
    harness: PaymentHarness, operation: str, fault: str
) -> None:
    new = new_payment(payment_method="pm_card_visa")
    harness.break_api(operation, **{fault: 1.0})
    with suppress(StripeUnavailable):
        await harness.service.open(new)
    harness.fix_api()

    payment = await harness.service.open(new)

    assert (payment.status, payment.amount_received) == (PaymentStatus.SUCCEEDED, 2_599)
    assert len(await harness.intents(new.order_id)) == 1
    assert [charge.status for charge in await harness.charges(payment)] == ["succeeded"]


async def test_a_confirm_whose_answer_is_lost_is_re_read_at_once(harness: PaymentHarness) -> None:
    harness.break_api(CONFIRM, lose_response=1.0)

    payment = await harness.opened("pm_card_visa")

    assert payment.status is PaymentStatus.SUCCEEDED


async def test_a_stored_500_that_made_no_intent_is_followed_by_a_new_key(harness: PaymentHarness) -> None:
    new = new_payment()
    harness.break_api(CREATE, error_500_after=1.0)
    with pytest.raises(StripeUnavailable):
        await harness.service.open(new)
    [made] = await harness.intents(new.order_id)
    # As if Stripe had stored its failure before it made anything.
    harness.forget_intent(made.id)
    harness.fix_api()

    with pytest.raises(StripeKeySpent):
        await harness.service.open(new)
    payment = await harness.service.open(new)

    assert (payment.status, payment.generation) == (PaymentStatus.REQUIRES_PAYMENT_METHOD, 1)
    assert len(await harness.intents(new.order_id)) == 1


async def test_a_stored_500_that_charged_nothing_is_followed_by_a_new_key(harness: PaymentHarness) -> None:
    new = new_payment(payment_method="pm_card_visa")
    harness.break_api(CONFIRM, "payment_intents.retrieve", error_500_after=1.0)
    with pytest.raises(StripeUnavailable):
        await harness.service.open(new)
    [intent] = await harness.intents(new.order_id)
    # As if Stripe had stored its failure before it charged anything.
    harness.forget_charges(intent.id)
    harness.fix_api()

    with pytest.raises(StripeKeySpent):
        await harness.service.open(new)
    payment = await harness.service.open(new)

    assert (payment.status, payment.generation) == (PaymentStatus.SUCCEEDED, 1)
    assert len(await harness.charges(payment)) == 1


async def test_a_key_that_stripe_may_have_forgotten_is_not_used_before_a_look(harness: PaymentHarness) -> None:
    new = new_payment()
    harness.break_api(CREATE, lose_response=1.0)
    with pytest.raises(StripeUnavailable):
        await harness.service.open(new)
    harness.fix_api()
    await harness.age(new.order_id, timedelta(hours=30))
    harness.forget_keys()

    payment = await harness.service.open(new)

    [intent] = await harness.intents(new.order_id)
    assert payment.intent_id == intent.id


@pytest.mark.parametrize("is_there", [True, False], ids=["found", "never made"])
async def test_a_look_for_an_intent_reads_none_that_others_made_before_or_since(
    harness: PaymentHarness, monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    new, others = new_payment(), [await harness.opened() for _ in range(6)]
    for other in others[:3]:
        await harness.age(other.order_id, timedelta(hours=60))
    harness.break_api(CREATE, **{"lose_response" if is_there else "error_500_before": 1.0})
    with pytest.raises(StripeUnavailable):
        await harness.service.open(new)
    harness.fix_api()
    await harness.age(new.order_id, timedelta(hours=30))
    harness.forget_keys()
    monkeypatch.setattr("services.payment.stripe.client._PAGE", 1)
    harness.calls.made.clear()

    payment = await harness.service.open(new)

    assert harness.calls.made.count("payment_intents.list") == 1
    [intent] = await harness.intents(new.order_id)
    assert payment.intent_id == intent.id


@pytest.mark.parametrize(
    "change", [{"amount": 2_600}, {"currency": "USD"}, {"payment_method": "pm_card_visa"}, {"user_id": new_id()}]
)
async def test_another_payment_for_the_same_order_is_refused(
    harness: PaymentHarness, change: dict[str, object]
) -> None:
    new = new_payment()
    await harness.service.open(new)

    with pytest.raises(PaymentDiffers):
        await harness.service.open(new_payment(**{**_terms(new), **change}))

    assert len(await harness.intents(new.order_id)) == 1


async def test_an_unknown_payment_method_is_rejected_in_stripes_words(harness: PaymentHarness) -> None:
    new = new_payment(payment_method="pm_nobody")

    with pytest.raises(PaymentRejected, match="No such PaymentMethod: 'pm_nobody'"):
        await harness.service.open(new)

    [intent] = await harness.intents(new.order_id)
    assert intent.status == "requires_payment_method"


async def test_an_amount_below_stripes_minimum_leaves_no_payment(harness: PaymentHarness) -> None:
    new = new_payment(amount=49)

    with pytest.raises(PaymentRejected, match=r"Stripe charges 0\.50 EUR at least"):
        await harness.service.open(new)

    with pytest.raises(PaymentNotFound):
        await harness.service.check(new.order_id, refresh=False)


async def test_an_open_after_a_void_is_refused(harness: PaymentHarness) -> None:
    new = new_payment(payment_method="pm_card_visa")
    await harness.service.void(new.order_id)

    with pytest.raises(PaymentVoided):
        await harness.service.open(new)

    assert await harness.intents(new.order_id) == []


async def test_a_refreshed_check_sees_what_the_customer_did_and_the_stored_one_does_not(
    harness: PaymentHarness,
) -> None:
    payment = await harness.opened()
    await harness.customer_pays(payment, "pm_card_visa")

    stored = await harness.service.check(payment.order_id, refresh=False)
    refreshed = await harness.service.check(payment.order_id, refresh=True)

    assert (stored.status, refreshed.status) == (PaymentStatus.REQUIRES_PAYMENT_METHOD, PaymentStatus.SUCCEEDED)


async def test_two_declines_between_two_re_reads_are_both_counted(harness: PaymentHarness) -> None:
    payment = await harness.opened()
    await harness.customer_pays(payment, "pm_card_chargeDeclined")
    await harness.customer_pays(payment, "pm_card_chargeDeclinedInsufficientFunds")

    refreshed = await harness.service.check(payment.order_id, refresh=True)
    again = await harness.service.check(payment.order_id, refresh=True)

    assert refreshed.failed_attempts == 2
    assert again == refreshed.change(version=again.version)


async def test_a_failed_charge_before_an_open_authentication_is_counted(harness: PaymentHarness) -> None:
    payment = await harness.opened()
    await harness.customer_pays(payment, "pm_card_chargeDeclined")
    await harness.customer_pays(payment, "pm_card_authenticationRequired")

    refreshed = await harness.service.check(payment.order_id, refresh=True)

    assert (refreshed.status, refreshed.failed_attempts) == (PaymentStatus.REQUIRES_ACTION, 1)


async def test_only_an_owner_or_an_admin_sees_an_orders_payment(harness: PaymentHarness) -> None:
    payment = await harness.opened()

    for caller in (Caller(CallerRole.CUSTOMER, payment.user_id or ""), SERVICE):
        assert (await harness.service.get_of_order(payment.order_id, caller=caller)).id == payment.id
    with pytest.raises(PaymentNotFound):
        await harness.service.get_of_order(payment.order_id, caller=Caller(CallerRole.CUSTOMER, new_id()))


def _terms(new: object) -> dict[str, object]:
    return {name: getattr(new, name) for name in ("order_id", "user_id", "amount", "currency", "payment_method")}
