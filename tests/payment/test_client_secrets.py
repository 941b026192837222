"""Client secrets are there for whoever polls, cost no call of Stripe's, and are readable nowhere."""

from __future__ import annotations

import pytest

from services.payment.payments.client_secrets import ClientSecrets
from services.payment.payments.model import Payment
from services.payment.stripe.errors import StripeUnavailable
from tests.support.payment_harness import PaymentHarness

READ = "payment_intents.retrieve"


async def secret_of(harness: PaymentHarness, payment: Payment) -> str:
    return await harness.service.client_secret(await harness.stored(payment))


async def test_the_secret_of_a_payment_is_read_without_stripe(harness: PaymentHarness) -> None:
    payment = await harness.opened()
    [intent] = await harness.intents(payment.order_id)
    harness.break_api(READ, error_500_before=1.0)

    assert [await secret_of(harness, payment) for _ in range(3)] == [intent.client_secret] * 3


async def test_it_is_stored_where_nobody_can_read_it(harness: PaymentHarness) -> None:
    payment = await harness.opened()

    [row] = await harness.rows("SELECT p::text AS dump, client_secret FROM payments p WHERE id = %(id)s", id=payment.id)

    assert row["client_secret"] is not None
    assert "_secret_" not in row["dump"]
    assert b"_secret_" not in row["client_secret"]
    assert "_secret_" not in repr(await harness.stored(payment))


async def test_it_is_forgotten_once_the_payment_is_decided(harness: PaymentHarness) -> None:
    paid = await harness.opened("pm_card_visa")
    closed = await harness.opened()
    await harness.service.close(closed.order_id)
    voided = await harness.opened()
    await harness.service.void(voided.order_id)

    for payment in (paid, closed, voided):
        assert await secret_of(harness, payment) == ""
        assert (await harness.stored(payment)).client_secret is None


async def test_what_was_sealed_with_another_api_key_is_asked_for_at_stripe(harness: PaymentHarness) -> None:
    payment = await harness.opened()
    [intent] = await harness.intents(payment.order_id)
    sealed = ClientSecrets("sk_test_before").seal("pi_secret", intent_id=intent.id)
    await harness.rows(
        "UPDATE payments SET client_secret = %(sealed)s WHERE id = %(id)s RETURNING id", id=payment.id, sealed=sealed
    )

    assert await secret_of(harness, payment) == intent.client_secret
    harness.break_api(READ, error_500_before=1.0)
    with pytest.raises(StripeUnavailable):
        await secret_of(harness, payment)


def test_a_secret_opens_for_its_intent_alone() -> None:
    secrets = ClientSecrets("sk_test_key")
    sealed = secrets.seal("pi_1_secret_x", intent_id="pi_1")

    assert secrets.open(sealed, intent_id="pi_1") == "pi_1_secret_x"
    assert secrets.open(sealed, intent_id="pi_2") is None
    assert secrets.open(sealed[:-1], intent_id="pi_1") is None
    assert ClientSecrets("sk_test_other").open(sealed, intent_id="pi_1") is None
