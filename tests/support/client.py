"""The embedded stack as its users see it: over HTTP, at Stripe, in Kafka, in Temporal and in the mailbox.

Nothing here shares code with what it looks at, but for how a connection is made of the settings; names, forms and
numbers are written out as the documents have them.
"""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psycopg
from aiokafka import AIOKafkaConsumer, TopicPartition
from temporalio.client import Client, WorkflowHandle

from domain.ids import new_id
from runtime.kafka_connection import kafka_options
from runtime.settings import Settings
from runtime.temporal import connect_temporal
from sandbox.external import External
from sandbox.ports import Ports
from sandbox.supervisor import Stack
from tests.support.busy_machine import slowdown

Value = TypeVar("Value")
Json = dict[str, Any]

TIMEOUT = 30.0
PASSWORD = "correct horse battery"
PRICE = 1_250
NAME = "Ada Byron"
STREET = "1 High Street"
TOPICS = ("order-events", "payment-events", "stock-events", "product-events", "user-events", "notification-events")
PARTITIONS = 6


async def until(read: Callable[[], Awaitable[Value]], is_enough: Callable[[Value], bool]) -> Value:
    """What `read` answers once that is enough: what is waited for happens in other processes."""
    began = time.monotonic()
    while not is_enough(value := await read()):
        waited = time.monotonic() - began
        assert waited < TIMEOUT * slowdown(), f"after {waited:.0f} s there is only {value}"
        await asyncio.sleep(0.05)
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A record as a consumer gets it."""

    key: str
    headers: dict[str, str]
    data: Json


class Observer:
    """Another team's consumer: reads every topic from its beginning, and drops repeats by `ce_id`."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._seen: dict[str, dict[str, Event]] = {topic: {} for topic in TOPICS}

    async def events(self, topic: str, key: str, *, at_least: int) -> list[Event]:
        """The events of one key in their order, once there are so many."""
        return await until(lambda: self._events(topic, key), lambda events: len(events) >= at_least)

    async def _events(self, topic: str, key: str) -> list[Event]:
        for partition, records in (await self._consumer.getmany(timeout_ms=50)).items():
            for record in records:
                headers = {name: value.decode() for name, value in record.headers}
                event = Event(key=record.key.decode(), headers=headers, data=json.loads(record.value))
                self._seen[partition.topic].setdefault(headers["ce_id"], event)
        return [event for event in self._seen[topic].values() if event.key == key]


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """Somebody with an account, and the header with their token."""

    id: str
    email: str
    token: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class StackClient:
    """Every way that users have to the stack."""

    stack: Stack
    var: Path
    gateway: httpx.AsyncClient
    stripe: httpx.AsyncClient
    mailbox: httpx.AsyncClient
    temporal: Client
    kafka: Observer
    admin: dict[str, str]
    """The header with the admin's token."""

    async def sign_up(self, *, confirms: bool = True) -> Customer:
        """Open an account, confirm its address as the first mail says if that comes here, and sign in."""
        email = f"customer-{new_id()}@example.test"
        user = await _json(self.gateway.post("/v1/users", json={"email": email, "password": PASSWORD, "name": NAME}))
        if confirms:
            await self.confirm(email)
        return Customer(id=user["id"], email=email, token=await _sign_in(self.gateway, email, PASSWORD))

    async def confirm(self, email: str) -> None:
        """Confirm an address by what the first mail of the kind shows."""

        async def tokens() -> list[str]:
            return [
                token for mail in await self._mails(email) for token in re.findall(r"(?m)^[\w-]{64}$", mail["text"])
            ]

        token = (await until(tokens, lambda tokens: len(tokens) > 0))[0]
        (await self.gateway.post("/v1/confirmations", json={"token": token})).raise_for_status()

    async def add_product(self, *, units: int = 10) -> str:
        """The id of a new product, of which there are so many."""
        product = {"name": "Coffee mug", "unit_price": PRICE, "currency": "EUR"}
        added = await _json(self.gateway.post("/v1/products", json=product, headers=self.admin))
        adjustments = f"/v1/inventory/{added['id']}/adjustments"
        await _json(self.gateway.post(adjustments, json={"delta": units}, headers=self.admin))
        return str(added["id"])

    async def place(self, customer: Customer, body: Json, *, key: str, wait: int = 20) -> httpx.Response:
        """Ask for an order, with the Idempotency-Key; wait so many seconds at most for its outcome."""
        headers = {**customer.token, "Idempotency-Key": key, "Prefer": f"wait={wait}"}
        return await self.gateway.post("/v1/orders", json=body, headers=headers)

    async def read_order(self, customer: Customer, order_id: str) -> Json:
        """The order as its owner reads it."""
        return await _json(self.gateway.get(f"/v1/orders/{order_id}", headers=customer.token))

    async def until_status(self, customer: Customer, order_id: str, status: str) -> Json:
        """The order, once it stands there; read again while the shop says that something is down."""
        return await until(lambda: self._read_if_served(customer, order_id), lambda order: order["status"] == status)

    async def until_payable(self, customer: Customer, order_id: str) -> Json:
        """The order, once it is PENDING and shows its client secret; that lacks while the payment service is down."""

        def is_payable(order: Json) -> bool:
            return order["status"] == "PENDING" and order["client_secret"] is not None

        return await until(lambda: self._read_if_served(customer, order_id), is_payable)

    async def _read_if_served(self, customer: Customer, order_id: str) -> Json:
        answer = await self.gateway.get(f"/v1/orders/{order_id}", headers=customer.token)
        order: Json = {"status": None} if answer.status_code == 503 else answer.raise_for_status().json()
        return order

    async def stock(self, product_id: str) -> tuple[int, int]:
        """Units on hand, and of those reserved."""
        level = await _json(self.gateway.get(f"/v1/inventory/{product_id}", headers=self.admin))
        return level["on_hand"], level["reserved"]

    async def pay(self, order: Json) -> Json:
        """Confirm the payment as Stripe's script does in a browser: with the client secret and a publishable key."""
        secret = order["client_secret"]
        form = {"key": "pk_test_browser", "client_secret": secret, "payment_method": "pm_card_visa"}
        return await _json(self.stripe.post(f"/v1/payment_intents/{secret.split('_secret_')[0]}/confirm", data=form))

    async def break_stripe(self, faults: Json) -> None:
        """Switch on these faults at Stripe, and all others off; `{}` ends them all."""
        (await self.stripe.post("/_sandbox/faults", json=faults)).raise_for_status()

    async def mails(self, email: str, *, at_least: int) -> list[Json]:
        """The mails to an address, but for the one that confirms it, once there are so many."""

        async def read() -> list[Json]:
            return [mail for mail in await self._mails(email) if mail["subject"] != "Confirm your address"]

        return await until(read, lambda mails: len(mails) >= at_least)

    async def _mails(self, email: str) -> list[Json]:
        mails: list[Json] = (await self.mailbox.get("/messages.json", params={"to": email})).json()
        return mails

    async def provider_events(self) -> set[str]:
        """The ids of what happened at Stripe."""
        token = {"Authorization": f"Bearer {self.stack.settings.required('stripe_api_key')}"}
        page = await _json(self.stripe.get("/v1/events", params={"limit": 100}, headers=token))
        assert not page["has_more"]
        return {event["id"] for event in page["data"]}

    def stored_provider_events(self) -> set[str]:
        """The ids of what the payment service has taken for an event of Stripe's."""
        with psycopg.connect(self.stack.settings.audit_dsns["payment"].get_secret_value()) as connection:
            return {str(event_id) for (event_id,) in connection.execute("SELECT event_id FROM provider_events")}

    async def rows(self, service: str, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """What a service's database answers."""
        dsn = self.stack.endpoints.postgres[service]
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            return await (await connection.execute(query.encode(), parameters)).fetchall()

    def outstanding_webhooks(self) -> int:
        """How many deliveries Stripe has had no 200 for yet."""
        with closing(sqlite3.connect(self.var / "stripe" / "stripe.sqlite3")) as store:
            return int(store.execute("SELECT count(*) FROM deliveries").fetchone()[0])

    def workflow(self, order_id: str) -> WorkflowHandle[Any, Any]:
        """The order's workflow."""
        return self.temporal.get_workflow_handle(f"order-{order_id}")


def order_of(product_id: str, *, quantity: int) -> Json:
    """A request for so many units of a product, without a payment method."""
    return {
        "lines": [{"product_id": product_id, "quantity": quantity}],
        "currency": "EUR",
        "shipping_address": {
            "name": NAME,
            "line1": STREET,
            "line2": None,
            "city": "Springfield",
            "postal_code": "12345",
            "country": "DE",
        },
    }


@asynccontextmanager
async def observer(settings: Settings) -> AsyncIterator[Observer]:
    """Another team's consumer, connected."""
    consumer = AIOKafkaConsumer(**kafka_options(settings), auto_offset_reset="earliest")
    consumer.assign([TopicPartition(topic, number) for topic in TOPICS for number in range(PARTITIONS)])
    async with consumer:
        yield Observer(consumer)


@asynccontextmanager
async def running_stack(
    var: Path, *, split: bool = False, restart: bool = False, external: Collection[External] = ()
) -> AsyncIterator[StackClient]:
    """A whole stack on free ports, and the ways to it. Where what is external is, our environment says."""
    async with AsyncExitStack() as opened:
        stack = await opened.enter_async_context(
            Stack(var=var, ports=Ports.free(), split=split, restart=restart, external=external)
        )
        endpoints = stack.endpoints
        gateway, stripe, mailbox = [
            await opened.enter_async_context(httpx.AsyncClient(base_url=url, timeout=TIMEOUT, trust_env=False))
            for url in (endpoints.gateway, endpoints.stripe, endpoints.mailbox)
        ]
        kafka = await opened.enter_async_context(observer(stack.settings))
        account = endpoints.accounts["admin"]
        yield StackClient(
            stack=stack,
            var=var,
            gateway=gateway,
            stripe=stripe,
            mailbox=mailbox,
            temporal=await connect_temporal(stack.settings),
            kafka=kafka,
            admin=await _sign_in(gateway, account.email, account.password),
        )


async def _sign_in(gateway: httpx.AsyncClient, email: str, password: str) -> dict[str, str]:
    answer = await _json(gateway.post("/v1/auth/token", json={"email": email, "password": password}))
    return {"Authorization": f"Bearer {answer['access_token']}"}


async def _json(request: Awaitable[httpx.Response]) -> Json:
    answer: Json = (await request).raise_for_status().json()
    return answer
