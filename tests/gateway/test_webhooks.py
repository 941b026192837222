"""Stripe's webhooks over HTTP, on the real payment service."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import psycopg
import pytest
import pytest_asyncio
import stripe

from domain.ids import new_id
from tests.support.gateway import Gateway, gateway_with_services
from tests.support.stripe_double import WEBHOOK_SECRET


@pytest_asyncio.fixture(scope="module")
async def gateway(databases: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    async with gateway_with_services(databases, stripe_data=tmp_path_factory.mktemp("stripe")) as gateway:
        yield gateway


def signature(body: bytes, *, secret: str = WEBHOOK_SECRET, age: float = 0) -> str:
    timestamp = int(time.time() - age)
    return str(stripe.WebhookSignature.generate_signature_header(body.decode(), secret=secret, timestamp=timestamp))


def event(*, order_id: str, **changes: Any) -> bytes:
    intent = {
        "id": f"pi_{new_id()}",
        "object": "payment_intent",
        "status": "succeeded",
        "metadata": {"app": "ordersaga", "order_id": order_id},
    }
    envelope = {
        "id": f"evt_{new_id()}",
        "object": "event",
        "type": "payment_intent.succeeded",
        "created": int(time.time()),
        "livemode": False,
        "data": {"object": intent},
        **changes,
    }
    return json.dumps(envelope).encode()


async def deliver(gateway: Gateway, body: bytes, header: str | None) -> httpx.Response:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    if header is not None:
        headers["Stripe-Signature"] = header
    return await gateway.http.post("/webhooks/stripe", content=body, headers=headers)


def stored_events(databases: Mapping[str, str]) -> list[str]:
    with psycopg.connect(databases["payment"]) as connection:
        return [row[0] for row in connection.execute("SELECT event_id FROM provider_events")]


async def test_a_signed_event_for_an_order_that_nobody_knows_is_stored_once_and_answered_200(
    gateway: Gateway, databases: Mapping[str, str]
) -> None:
    body = event(order_id=new_id())

    first = await deliver(gateway, body, signature(body))
    again = await deliver(gateway, body, signature(body))

    assert (first.status_code, first.json()) == (200, {})
    assert again.status_code == 200
    assert stored_events(databases).count(json.loads(body)["id"]) == 1


async def test_an_unsigned_forged_or_old_webhook_is_refused_and_not_stored(
    gateway: Gateway, databases: Mapping[str, str]
) -> None:
    body = event(order_id=new_id())
    before = stored_events(databases)
    headers = {
        "missing": None,
        "empty": "",
        "no signature": "soon",
        "forged": signature(body, secret="whsec_somebody"),
        "over another body": signature(event(order_id=new_id())),
        "old": signature(body, age=301),
    }

    answers = {name: await deliver(gateway, body, header) for name, header in headers.items()}

    for name, answer in answers.items():
        assert answer.status_code == 400, name
        assert answer.json()["type"] == "urn:ordersaga:problem:bad-webhook-signature", name
    assert stored_events(databases) == before


@pytest.mark.parametrize(
    "body", [b"[]", b"{}", b"", b"hello", b'{"object": "v2.core.event", "id": "evt_1"}', b'{"object": "event"}']
)
async def test_a_signed_body_that_is_no_event_is_refused_and_not_stored(
    gateway: Gateway, databases: Mapping[str, str], body: bytes
) -> None:
    before = stored_events(databases)

    response = await deliver(gateway, body, signature(body))

    assert (response.status_code, response.json()["type"]) == (400, "urn:ordersaga:problem:bad-webhook-body")
    assert stored_events(databases) == before


async def test_events_of_the_other_mode_or_of_another_application_are_taken_and_dropped(
    gateway: Gateway, databases: Mapping[str, str]
) -> None:
    before = stored_events(databases)
    strangers = event(order_id=new_id(), data={"object": {"id": "pi_1", "object": "payment_intent", "metadata": {}}})

    for body in (event(order_id=new_id(), livemode=True), strangers):
        assert (await deliver(gateway, body, signature(body))).status_code == 200

    assert stored_events(databases) == before
