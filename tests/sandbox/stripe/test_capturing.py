"""Money that is held first and captured later, and intents that are changed before they are paid."""

from __future__ import annotations

from typing import Any

import pytest
import stripe
from msgspec.structs import replace

from sandbox.stripe.account import StripeAccount
from sandbox.stripe.errors import ApiError
from sandbox.stripe.events import Event
from sandbox.stripe.objects import Charge, Intent, IntentStatus
from tests.support.stripe_double import create


async def hold(client: stripe.StripeClient, card: str = "pm_card_visa", **params: Any) -> stripe.PaymentIntent:
    """An intent that holds the money of a card."""
    return await create(client, payment_method=card, confirm=True, capture_method="manual", **params)


def types(account: StripeAccount) -> list[str]:
    return [event.type.value for event in account.all(Event)]


async def test_an_intent_with_manual_capture_holds_the_money_first(
    account: StripeAccount, direct: stripe.StripeClient
) -> None:
    held = await hold(direct)
    [charge] = account.all(Charge)

    assert (held.status, held.amount_capturable, held.amount_received) == ("requires_capture", 2_599, 0)
    assert (charge.status, charge.captured, charge.paid, charge.amount_captured) == ("succeeded", False, True, 0)
    assert types(account) == [
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.amount_capturable_updated",
    ]


@pytest.mark.parametrize(("params", "received"), [({}, 2_599), ({"amount_to_capture": 2_000}, 2_000)])
async def test_capturing_takes_the_money_or_a_part_of_it(
    account: StripeAccount, direct: stripe.StripeClient, params: Any, received: int
) -> None:
    held = await hold(direct, metadata={"order": "1"})

    params["metadata"] = {"captured_by": "shop"}
    paid = await direct.v1.payment_intents.capture_async(held.id, params)

    [charge] = account.all(Charge)
    assert (paid.status, paid.amount_received, paid.amount_capturable) == ("succeeded", received, 0)
    assert paid.metadata.to_dict() == {"order": "1", "captured_by": "shop"}
    assert (charge.captured, charge.amount_captured) == (True, received)
    assert types(account)[-2:] == ["charge.captured", "payment_intent.succeeded"]
    refund = await direct.v1.refunds.create_async({"payment_intent": held.id})
    assert refund.amount == received


async def test_no_more_is_captured_than_is_held_and_only_once(direct: stripe.StripeClient) -> None:
    held = await hold(direct)

    with pytest.raises(stripe.InvalidRequestError) as too_much:
        await direct.v1.payment_intents.capture_async(held.id, {"amount_to_capture": 2_600})
    await direct.v1.payment_intents.capture_async(held.id)
    with pytest.raises(stripe.InvalidRequestError) as again:
        await direct.v1.payment_intents.capture_async(held.id)

    assert (too_much.value.code, too_much.value.param) == ("amount_too_large", "amount_to_capture")
    assert (again.value.http_status, again.value.code) == (400, "payment_intent_unexpected_state")


async def test_canceling_releases_what_is_held(account: StripeAccount, direct: stripe.StripeClient) -> None:
    held = await hold(direct)

    canceled = await direct.v1.payment_intents.cancel_async(held.id)

    [charge] = account.all(Charge)
    assert (canceled.status, canceled.amount_capturable) == ("canceled", 0)
    assert (charge.captured, charge.refunded, charge.amount_refunded) == (False, True, 2_599)
    assert types(account)[-2:] == ["charge.refunded", "payment_intent.canceled"]


async def test_what_is_only_held_can_be_neither_refunded_nor_disputed(
    account: StripeAccount, direct: stripe.StripeClient
) -> None:
    held = await hold(direct)

    with pytest.raises(stripe.InvalidRequestError, match="cancel its PaymentIntent") as refused:
        await direct.v1.refunds.create_async({"payment_intent": held.id})

    assert (refused.value.http_status, refused.value.code) == (400, None)
    [charge] = account.all(Charge)
    with pytest.raises(ApiError, match="cannot be disputed"):
        account.open_dispute(charge.id)


async def test_a_card_that_is_disputed_is_so_once_its_money_is_captured(
    account: StripeAccount, direct: stripe.StripeClient
) -> None:
    held = await hold(direct, "pm_card_createDispute")
    before = (await direct.v1.disputes.list_async({"payment_intent": held.id})).data

    await direct.v1.payment_intents.capture_async(held.id)

    after = (await direct.v1.disputes.list_async({"payment_intent": held.id})).data
    assert (before, [dispute.amount for dispute in after]) == ([], [2_599])


async def test_an_open_intent_can_be_changed_and_is_paid_as_it_is_then(direct: stripe.StripeClient) -> None:
    intent = await create(direct, metadata={"order": "1", "cart": "2"}, description="Mugs")

    changed = await direct.v1.payment_intents.update_async(
        intent.id, {"amount": 1_000, "currency": "eur", "metadata": {"cart": "", "note": "less"}}
    )
    paid = await direct.v1.payment_intents.confirm_async(intent.id, {"payment_method": "pm_card_visa"})

    assert (changed.status, changed.amount, changed.currency) == ("requires_payment_method", 1_000, "eur")
    assert (changed.metadata.to_dict(), changed.description) == ({"order": "1", "note": "less"}, "Mugs")
    assert (paid.status, paid.amount_received) == ("succeeded", 1_000)


@pytest.mark.parametrize("status", ["succeeded", "canceled", "processing", "requires_capture"])
async def test_what_is_to_be_paid_cannot_be_changed_any_more(
    account: StripeAccount, direct: stripe.StripeClient, status: str
) -> None:
    intent = await hold(direct)
    account.overwrite(replace(account.get(Intent, intent.id), status=IntentStatus(status)))

    with pytest.raises(stripe.InvalidRequestError, match="amount could not be updated") as refused:
        await direct.v1.payment_intents.update_async(intent.id, {"amount": 1_000})
    noted = await direct.v1.payment_intents.update_async(intent.id, {"metadata": {"note": "late"}})

    assert refused.value.code == "payment_intent_unexpected_state"
    assert (noted.status, noted.amount, noted.metadata.to_dict()) == (status, 2_599, {"note": "late"})


async def test_an_intent_that_waits_for_its_customer_is_to_be_confirmed_again_after_a_change(
    direct: stripe.StripeClient,
) -> None:
    waiting = await create(direct, payment_method="pm_card_authenticationRequired", confirm=True)

    changed = await direct.v1.payment_intents.update_async(waiting.id, {"amount": 1_000})

    assert (waiting.status, changed.status, changed.next_action) == ("requires_action", "requires_confirmation", None)
    assert (await direct.v1.payment_intents.confirm_async(waiting.id)).status == "requires_action"


async def test_an_intent_can_be_given_a_payment_method_before_it_is_confirmed(direct: stripe.StripeClient) -> None:
    intent = await create(direct)

    ready = await direct.v1.payment_intents.update_async(intent.id, {"payment_method": "pm_card_visa"})
    paid = await direct.v1.payment_intents.confirm_async(intent.id)

    assert (ready.status, paid.status, paid.payment_method) == (
        "requires_confirmation",
        "succeeded",
        ready.payment_method,
    )


@pytest.mark.parametrize(
    ("params", "code", "param"),
    [({"amount": 10}, "amount_too_small", "amount"), ({"currency": "xyz"}, None, "currency")],
)
async def test_a_change_keeps_stripes_limits(
    direct: stripe.StripeClient, params: Any, code: str | None, param: str
) -> None:
    intent = await create(direct)

    with pytest.raises(stripe.InvalidRequestError) as refused:
        await direct.v1.payment_intents.update_async(intent.id, params)

    assert (refused.value.http_status, refused.value.code, refused.value.param) == (400, code, param)
