"""A shop's front end, as far as the demo needs one: it speaks to the gateway over HTTP and pays at Stripe."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final, TypeVar

import httpx
import stripe

from cli.demo.model import NO_MONEY, Customer, Line, Money, PlacedOrder, Product, to_order
from cli.exiting import CommandFailed
from cli.stripe_sdk import open_stripe
from domain.ids import new_id
from domain.orders import OrderStatus
from domain.saga import dispute_workflow_id, order_workflow_id, refund_workflow_id
from sandbox.endpoints import Endpoints

Value = TypeVar("Value")

CURRENCY: Final = "EUR"
CLOSED: Final = frozenset(status.value for status in OrderStatus if not status.is_open)
TIMEOUT: Final = 60.0
"""Seconds that anything in the demo may take before it counts as broken."""
SIGN_UPS_AT_ONCE: Final = 2
"""Each has two passwords hashed, of a fifth of a second of CPU: all at once they would only wait for each other."""
POLL: Final = 0.05
CONFIRMATION: Final = "Confirm your address"
"""Subject of the mail by which it is confirmed."""
_TOKEN: Final = re.compile(r"^[\w-]{64}$", re.MULTILINE)
PASSWORD: Final = "sandbox-password"  # noqa: S105  # of accounts that live as long as the demo's stack


class DemoError(CommandFailed):
    """The stack did not do what the demo shows; the message says what."""


class Refused(Exception):
    """The gateway refuses a request; the name is the last part of the problem's type."""

    def __init__(self, status: int, name: str, detail: str) -> None:
        super().__init__(f"{status} {name}: {detail}")
        self.status = status
        self.name = name


class Shop:
    """The gateway, the mailbox and Stripe, as a shop and its customers use them. An async context manager."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints
        self._sign_ups = asyncio.Semaphore(SIGN_UPS_AT_ONCE)
        self._gateway = httpx.AsyncClient(base_url=endpoints.gateway, timeout=TIMEOUT)
        self._mailbox = httpx.AsyncClient(base_url=endpoints.mailbox, timeout=TIMEOUT)
        self._stripe = httpx.AsyncClient(base_url=endpoints.stripe, timeout=TIMEOUT)
        self._admin = ""

    async def __aenter__(self) -> Shop:
        admin = self._endpoints.accounts["admin"]
        self._admin = await self._sign_in(admin.email, admin.password)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._gateway.aclose()
        await self._mailbox.aclose()
        await self._stripe.aclose()

    async def add_product(self, name: str, *, price: int, units: int) -> Product:
        """As admin: make a product and put units of it in stock."""
        body = {"name": name, "unit_price": price, "currency": CURRENCY}
        product = await self._call("POST", "/v1/products", token=self._admin, body=body)
        adjustments = f"/v1/inventory/{product['id']}/adjustments"
        await self._call("POST", adjustments, token=self._admin, body={"delta": units, "note": "delivery"})
        return Product(id=product["id"], name=name)

    async def get_available(self, product: Product) -> int:
        """As admin: units that can be ordered."""
        stock = await self._call("GET", f"/v1/inventory/{product.id}", token=self._admin)
        return int(stock["available"])

    async def add_customer(self, role: str) -> Customer:
        """Open an account, confirm its address as the first mail says, and sign in."""
        email = f"{role}@example.test"
        body = {"email": email, "password": PASSWORD, "name": role.replace("-", " ").capitalize()}
        async with self._sign_ups:
            await self._call("POST", "/v1/users", body=body)
            customer = Customer(email=email, token=await self._sign_in(email, PASSWORD))
        await self._call("POST", "/v1/confirmations", body={"token": await self._wait_for_token(customer)})
        return customer

    async def order(
        self,
        customer: Customer,
        lines: Sequence[Line],
        *,
        payment_method: str | None = None,
        window: int = 900,
        wait: int = 20,
    ) -> PlacedOrder:
        """Place an order that can be paid for `window` seconds, and wait so long for its first outcome."""
        body = {
            "lines": [{"product_id": line.product_id, "quantity": line.quantity} for line in lines],
            "currency": CURRENCY,
            "shipping_address": {
                "name": "Demo Customer",
                "line1": "1 Sample Street",
                "city": "Springfield",
                "postal_code": "12345",
                "country": "DE",
            },
            "payment_method": payment_method,
            "payment_window_seconds": window,
        }
        answer = await self._call(
            "POST",
            "/v1/orders",
            token=customer.token,
            body={name: value for name, value in body.items() if value is not None},
            headers={"Idempotency-Key": new_id(), "Prefer": f"wait={wait}"},
        )
        return to_order(answer)

    async def get_order(self, customer: Customer, order_id: str) -> PlacedOrder:
        """The order as it is now."""
        return to_order(await self._call("GET", f"/v1/orders/{order_id}", token=customer.token))

    async def pay(self, order: PlacedOrder, payment_method: str) -> bool:
        """Confirm the payment as a browser does, with the client secret; whether the card was accepted."""
        if order.client_secret is None:
            raise DemoError(f"order {order.id} is {order.status} and has no client secret to pay with")
        intent_id = order.client_secret.split("_secret_")[0]
        # the secret is what a browser has in place of a secret key; the SDK, made for servers, does not know the field
        params: Any = {"payment_method": payment_method, "client_secret": order.client_secret}
        async with open_stripe("pk_test_demo", api_base=self._endpoints.stripe, call_seconds=TIMEOUT) as client:
            try:
                await client.v1.payment_intents.confirm_async(intent_id, params)
            except stripe.CardError:
                return False
        return True

    async def cancel(self, customer: Customer, order: PlacedOrder) -> PlacedOrder:
        """Cancel the order; answers once it is CANCELLED."""
        answer = await self._call(
            "POST",
            f"/v1/orders/{order.id}/cancel",
            token=customer.token,
            body={"note": "changed my mind"},
            headers={"Idempotency-Key": new_id(), "Prefer": "wait=20"},
        )
        return to_order(answer)

    async def refund(self, order: PlacedOrder, *, amount: int | None = None, restock: Sequence[Line] = ()) -> str:
        """As admin: give money of an order back; the refund's status once it succeeded or failed.

        Raises:
            Refused: the order cannot be refunded now.
        """
        body: dict[str, Any] = {
            "restock": [{"product_id": line.product_id, "quantity": line.quantity} for line in restock],
            "note": "the customer sent it back",
        }
        answer = await self._call(
            "POST",
            f"/v1/orders/{order.id}/refunds",
            token=self._admin,
            body=body if amount is None else {**body, "amount": amount},
            headers={"Idempotency-Key": new_id(), "Prefer": "wait=20"},
        )
        return str(answer["status"])

    async def get_money(self, order: PlacedOrder) -> Money:
        """As admin: what the order's payment brought in, and what of it went back."""
        if order.payment_id is None:
            refunds = await self._get_refunds(order)
            if not refunds:
                return NO_MONEY
            order = replace(order, payment_id=refunds[0]["payment_id"])
        payment = await self._get_payment(order)
        return Money(payment["amount_received"], payment["amount_refunded"])

    async def get_workflow_ids(self, order: PlacedOrder) -> list[str]:
        """The ids of the order's workflow, and of those of its refunds and disputes."""
        refunds = await self._get_refunds(order)
        disputes = [] if order.payment_id is None else (await self._get_payment(order))["disputes"]
        return [
            order_workflow_id(order.id),
            *(refund_workflow_id(refund["id"]) for refund in refunds),
            *(dispute_workflow_id(dispute["id"]) for dispute in disputes),
        ]

    async def wait_for_money(self, order: PlacedOrder, money: Money) -> Money:
        """What came in and went back, once it is so much."""
        return await _poll(
            lambda: self.get_money(order), lambda found: found == money, wanted=f"{money} of order {order.id}"
        )

    async def wait_for_dispute(self, order: PlacedOrder, status: str) -> str:
        """The id of the dispute of the order's payment, once the shop knows that it stands there."""
        payment = await _poll(
            lambda: self._get_payment(order),
            lambda payment: any(dispute["status"] == status for dispute in payment["disputes"]),
            wanted=f"a dispute of order {order.id} to be {status}",
        )
        return str(payment["disputes"][0]["id"])

    async def decide_dispute(self, order: PlacedOrder, dispute_id: str, *, status: str) -> None:
        """As the customer's bank: decide the dispute; returns once the shop knows."""
        await self._switch(f"/_sandbox/disputes/{dispute_id}", {"status": status})
        await self.wait_for_dispute(order, status.upper())

    @asynccontextmanager
    async def stripe_troubled(self, **faults: Any) -> AsyncIterator[None]:
        """Let webhooks or calls go wrong, as `POST /_sandbox/faults` of the Stripe double says."""
        await self._switch("/_sandbox/faults", faults)
        try:
            yield
        finally:
            await self._switch("/_sandbox/faults", {})

    async def wait_until_closed(self, customer: Customer, order_id: str) -> PlacedOrder:
        """The order once its saga has brought it to an end."""
        return await _poll(
            lambda: self.get_order(customer, order_id),
            lambda order: order.status in CLOSED,
            wanted=f"order {order_id} to be closed",
        )

    async def wait_for_mails(self, customer: Customer, count: int) -> list[str]:
        """The subjects of the customer's mails about orders, once there are so many."""
        return await _poll(
            lambda: self._get_subjects(customer),
            lambda subjects: len(subjects) >= count,
            wanted=f"{count} mails to {customer.email}",
        )

    async def _get_subjects(self, customer: Customer) -> list[str]:
        subjects = [mail["subject"] for mail in await self._get_mails(customer)]
        return [subject for subject in subjects if subject != CONFIRMATION]

    async def _wait_for_token(self, customer: Customer) -> str:
        """What the mail shows by which the customer confirms their address."""
        mails = await _poll(
            lambda: self._get_mails(customer), lambda mails: len(mails) > 0, wanted=f"a first mail to {customer.email}"
        )
        found = _TOKEN.search(mails[0]["text"])
        if found is None:
            raise DemoError(f"the first mail to {customer.email} shows no token")
        return found[0]

    async def _get_mails(self, customer: Customer) -> list[dict[str, Any]]:
        response = await self._mailbox.get("/messages.json", params={"to": customer.email})
        mails: list[dict[str, Any]] = response.raise_for_status().json()
        return mails

    async def _get_refunds(self, order: PlacedOrder) -> list[dict[str, Any]]:
        answer = await self._call("GET", f"/v1/orders/{order.id}/refunds", token=self._admin)
        refunds: list[dict[str, Any]] = answer["items"]
        return refunds

    async def _get_payment(self, order: PlacedOrder) -> dict[str, Any]:
        return await self._call("GET", f"/v1/payments/{order.payment_id}", token=self._admin)

    async def _switch(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Do at Stripe what only Stripe, or somebody's bank, can do."""
        response = await self._stripe.post(path, json=body)
        if response.is_error:
            raise DemoError(f"POST {path} answered {response.status_code}: {response.text}")
        answer: dict[str, Any] = response.json() if response.content else {}
        return answer

    async def _sign_in(self, email: str, password: str) -> str:
        answer = await self._call("POST", "/v1/auth/token", body={"email": email, "password": password})
        return str(answer["access_token"])

    async def _call(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        body: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        headers = dict(headers or {})
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        response = await self._gateway.request(method, path, json=body, headers=headers)
        if response.status_code == HTTPStatus.CONFLICT:
            problem = response.json()
            raise Refused(response.status_code, problem["type"].rpartition(":")[2], problem["detail"])
        if response.is_error:
            raise DemoError(f"{method} {path} answered {response.status_code}: {response.text}")
        answer: dict[str, Any] = response.json() if response.content else {}
        return answer


async def _poll(read: Callable[[], Awaitable[Value]], is_enough: Callable[[Value], bool], *, wanted: str) -> Value:
    """What `read` answers once that is enough."""
    deadline = asyncio.get_running_loop().time() + TIMEOUT
    while not is_enough(value := await read()):
        if asyncio.get_running_loop().time() > deadline:
            raise DemoError(f"waited {TIMEOUT:.0f} s for {wanted}, and there is only {value}")
        await asyncio.sleep(POLL)
    return value
