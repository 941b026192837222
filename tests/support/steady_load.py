"""Customers who order all the time over several gateways, each of which may go: none of their requests may be lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import count
from typing import Any, Final

import httpx

from domain.ids import new_id
from sandbox.balancer import Balancer
from sandbox.replicas import Replica
from tests.support.busy_machine import slowdown
from tests.support.client import NAME, PASSWORD, PRICE, Json, order_of, until

TIMEOUT: Final = 60.0


class Door:
    """Gateways behind a load balancer, as customers know them.

    Any answer that blames the server is the test's, unless it is rough there: then 503 is answered by patience, as its
    Retry-After says, and the same request.

    Attributes:
        is_rough: whether somebody kills what the requests need.
        answered: how many requests were.
        refused: how many answers were 503.
        slowest: seconds that a request took until its answer, those 503 and pauses included, since this was set to 0.
    """

    def __init__(self, http: httpx.AsyncClient, balancer: Balancer) -> None:
        self._http = http
        self._balancer = balancer
        self.is_rough = False
        self.answered = 0
        self.refused = 0
        self.slowest = 0.0

    @property
    def sent_again(self) -> int:
        """Requests that a gateway did not answer, and the next one did."""
        return self._balancer.sent_again

    async def count_answered(self) -> int:
        """How many requests were answered."""
        return self.answered

    async def ask(self, method: str, path: str, *, headers: dict[str, str], json: Json | None = None) -> httpx.Response:
        """The answer to a request."""
        began = time.monotonic()
        while True:
            answer = await self._http.request(method, path, headers=headers, json=json)
            if not (self.is_rough and answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE):
                break
            self.refused += 1
            await asyncio.sleep(float(answer.headers["Retry-After"]))
        assert not answer.is_server_error, f"{method} {path}: {answer.text}"
        self.answered += 1
        self.slowest = max(self.slowest, time.monotonic() - began)
        return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """An order, and how it has to end."""

    order_id: str
    outcome: str


@dataclass(slots=True, kw_only=True)
class Buyer:
    """A customer who places one order after the other, of each kind in turn."""

    door: Door
    stripe: httpx.AsyncClient
    id: str
    token: dict[str, str]
    product: str
    sold_out: str
    placed: list[Placed] = field(default_factory=list)

    async def buy(self, stopping: asyncio.Event) -> None:
        """Go on until told to stop; every order is followed to its end."""
        stories = (self._pay_at_once, self._pay_later, self._want_what_is_sold_out, self._think_better_of_it)
        for number in count():
            if stopping.is_set():
                return
            self.placed.append(await stories[number % len(stories)]())

    async def until_placed(self, orders: int) -> None:
        """Wait until so many have come to their end."""

        async def count_orders() -> int:
            return len(self.placed)

        await until(count_orders, lambda placed: placed >= orders)

    async def _pay_at_once(self) -> Placed:
        order = await self._place(self.product, payment_method="pm_card_visa")
        return await self._until(order["id"], "PAID")

    async def _pay_later(self) -> Placed:
        order = await self._until_payable((await self._place(self.product))["id"])
        secret = order["client_secret"]
        form = {"key": "pk_test_browser", "client_secret": secret, "payment_method": "pm_card_visa"}
        intent = secret.split("_secret_")[0]
        (await self.stripe.post(f"/v1/payment_intents/{intent}/confirm", data=form)).raise_for_status()
        return await self._until(order["id"], "PAID")

    async def _want_what_is_sold_out(self) -> Placed:
        order = await self._place(self.sold_out)
        return await self._until(order["id"], "FAILED")

    async def _think_better_of_it(self) -> Placed:
        order = await self._place(self.product)
        headers = {**self.token, "Idempotency-Key": new_id()}
        answer = await self.door.ask("POST", f"/v1/orders/{order['id']}/cancel", headers=headers, json={})
        assert answer.status_code in (200, 202), answer.text
        return await self._until(order["id"], "CANCELLED")

    async def _place(self, product: str, **changes: Any) -> Json:
        headers = {**self.token, "Idempotency-Key": new_id()}
        body = {**order_of(product, quantity=1), **changes}
        answer = await self.door.ask("POST", "/v1/orders", headers=headers, json=body)
        assert answer.status_code in (201, 202), answer.text
        order: Json = answer.json()
        return order

    async def _read(self, order_id: str) -> Json:
        answer = await self.door.ask("GET", f"/v1/orders/{order_id}", headers=self.token)
        assert answer.status_code == 200, answer.text
        order: Json = answer.json()
        return order

    async def _until(self, order_id: str, outcome: str) -> Placed:
        await until(lambda: self._read(order_id), lambda order: order["status"] not in ("RECEIVED", "PENDING"))
        order = await self._read(order_id)
        assert order["status"] == outcome, order
        return Placed(order_id=order_id, outcome=outcome)

    async def _until_payable(self, order_id: str) -> Json:
        return await until(lambda: self._read(order_id), lambda order: order.get("client_secret") is not None)


@asynccontextmanager
async def open_door(gateways: Sequence[Replica]) -> AsyncIterator[Door]:
    """Connections to the gateways, kept open as a load balancer does."""
    balancer = Balancer(gateways)
    async with httpx.AsyncClient(
        base_url="http://gateway.test", timeout=TIMEOUT * slowdown(), transport=balancer
    ) as http:
        yield Door(http, balancer)


async def sign_up(door: Door, stripe: httpx.AsyncClient, *, product: str, sold_out: str) -> Buyer:
    """A new customer."""
    email = f"customer-{new_id()}@example.test"
    account = {"email": email, "password": PASSWORD, "name": NAME}
    user = (await door.ask("POST", "/v1/users", headers={}, json=account)).raise_for_status().json()
    return Buyer(
        door=door,
        stripe=stripe,
        id=user["id"],
        token=await sign_in(door, email, PASSWORD),
        product=product,
        sold_out=sold_out,
    )


async def sign_in(door: Door, email: str, password: str) -> dict[str, str]:
    """The header with an account's token."""
    answer = await door.ask("POST", "/v1/auth/token", headers={}, json={"email": email, "password": password})
    return {"Authorization": f"Bearer {answer.raise_for_status().json()['access_token']}"}


async def add_product(door: Door, admin: dict[str, str], *, units: int) -> str:
    """The id of a new product, of which there are so many."""
    product = {"name": "Coffee mug", "unit_price": PRICE, "currency": "EUR"}
    added = (await door.ask("POST", "/v1/products", headers=admin, json=product)).raise_for_status().json()
    if units:
        path = f"/v1/inventory/{added['id']}/adjustments"
        (await door.ask("POST", path, headers=admin, json={"delta": units})).raise_for_status()
    return str(added["id"])
