"""The Stripe double keeps the first answer under an idempotency key, as Stripe does."""

from __future__ import annotations

import asyncio

import httpx
import pytest
import stripe

from sandbox.stripe.clock import Clock
from sandbox.stripe.server import StripeDouble
from tests.support.stripe_double import StartMerchant, create


async def test_the_same_key_gives_the_first_answer_again(client: stripe.StripeClient) -> None:
    first, again = [await create(client, key="k") for _ in range(2)]

    assert again.id == first.id
    assert len((await client.v1.payment_intents.list_async()).data) == 1
    assert "idempotent-replayed" not in first.last_response.headers  # type: ignore[union-attr]  # set on every answer
    assert again.last_response.headers["idempotent-replayed"] == "true"  # type: ignore[union-attr]  # as above


async def test_a_decline_is_replayed_without_another_attempt(client: stripe.StripeClient) -> None:
    intent = await create(client)

    for _ in range(2):
        with pytest.raises(stripe.CardError):
            await client.v1.payment_intents.confirm_async(
                intent.id, {"payment_method": "pm_card_chargeDeclined"}, {"idempotency_key": "attempt-1"}
            )

    assert len((await client.v1.charges.list_async({"payment_intent": intent.id})).data) == 1


async def test_the_same_key_with_another_call_is_an_error(client: stripe.StripeClient) -> None:
    intent, other = await create(client), await create(client)
    await client.v1.payment_intents.cancel_async(intent.id, {}, {"idempotency_key": "k"})

    for call in (
        client.v1.payment_intents.cancel_async(
            intent.id, {"cancellation_reason": "abandoned"}, {"idempotency_key": "k"}
        ),
        client.v1.payment_intents.cancel_async(other.id, {}, {"idempotency_key": "k"}),
    ):
        with pytest.raises(stripe.IdempotencyError) as refused:
            await call
        assert refused.value.http_status == 400


async def test_a_call_that_never_executed_leaves_its_key_free(client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        await create(client, key="k", colour="red")

    created = await create(client, key="k")

    assert created.status == "requires_payment_method"


async def test_a_concurrent_duplicate_is_a_409(client: stripe.StripeClient, double: StripeDouble) -> None:
    async with httpx.AsyncClient(base_url=double.url) as switch:
        await switch.post("/_sandbox/faults", json={"api": {"delay_ms": [60_000, 60_000]}})
        duplicates = {asyncio.create_task(create(client, key="k")) for _ in range(2)}
        refused, executing = await asyncio.wait(duplicates, return_when=asyncio.FIRST_COMPLETED)
        await switch.post("/_sandbox/faults", json={})

    [error] = [task.exception() for task in refused]
    assert isinstance(error, stripe.APIError)
    assert error.http_status == 409
    assert error.error is not None
    assert error.error.code == "idempotency_key_in_use"
    assert [(await task).status for task in executing] == ["requires_payment_method"]


async def test_a_key_is_forgotten_after_a_day(client: stripe.StripeClient, clock: Clock) -> None:
    first = await create(client, key="k")
    clock.advance(24 * 3600 - 1)
    within = await create(client, key="k")
    clock.advance(1)
    after = await create(client, key="k")

    assert within.id == first.id
    assert after.id != first.id


async def test_objects_and_answers_outlive_a_restart(start: StartMerchant) -> None:
    ids = []
    for _ in range(2):
        async with start() as merchant:
            created = await create(merchant.client, key="k")
            ids.append((created.id, len((await merchant.client.v1.payment_intents.list_async()).data)))

    assert ids[0] == ids[1] == (created.id, 1)
