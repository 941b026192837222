"""Customers who order all the time over two gateways, each of which may go away: none of their requests may be lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

import httpx

from domain.ids import new_id
from sandbox.replicas import Replica
from tests.support.busy_machine import slowdown
from tests.support.client import NAME, PASSWORD, PRICE, Json, order_of, until

TIMEOUT: Final = 60.0


class Door:
    """Two gateways behind a load balancer that knows nothing: requests go to each in turn.

    What a gateway that goes away refused, or closed without a word, is sent to the other one, with the same key.
    Any other failure, and any answer that blames the server, is the test's.
    """

    def __init__(self, gateways: Sequence[tuple[Replica, httpx.AsyncClient]]) -> None:
        self._gateways = gateways
        self._turn = count()
        self.answered = 0
        self.sent_again = 0

    async def ask(self, method: str, path: str, *, headers: dict[str, str], json: Json | None = None) -> httpx.Response:
        """The answer to a request."""
        turn = next(self._turn) % len(self._gateways)
        *first, last = [*self._gateways[turn:], *self._gateways[:turn]]
        for replica, http in first:
            try:
                return self._check(await http.request(method, path, headers=headers, json=json))
            except (httpx.ConnectError, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
                if not replica.is_going:
                    raise
                self.sent_again += 1
        return self._check(await last[1].request(method, path, headers=headers, json=json))

    def _check(self, answer: httpx.Response) -> httpx.Response:
        assert answer.status_code < 500, f"{answer.request.method} {answer.request.url}: {answer.text}"
        self.answered += 1
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
    clients = [
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{gateway.settings.gateway_port}", timeout=TIMEOUT * slowdown(), trust_env=False
        )
        for gateway in gateways
    ]
    try:
        yield Door(list(zip(gateways, clients, strict=True)))
    finally:
        for client in clients:
            await client.aclose()


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
