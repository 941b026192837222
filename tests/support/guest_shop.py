"""Guests at the gateway, for tests: they order, get mails, and find their orders again; tests do what sagas would."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from google.protobuf.json_format import Parse

from domain.ids import new_id
from domain.orders import OrderStatus, PricedLine, total_change
from ordersaga.events.v1.order_events_pb2 import OrderTransitioned
from ordersaga.payment.v1 import payment_pb2
from runtime.caller import SERVICE
from services.notification.messenger import Message
from services.notification.model import TEMPLATE_OF, OrderEvent, concerns_guest
from services.order.model import Mark, Pricing
from tests.support.gateway import ORDER_PAGE, PASSWORD, Gateway, gateway_with_services, order_body
from tests.support.rows import fetch_rows
from tests.support.rpc import call

PRICE = 1_250


class Mailbox:
    """Takes every mail."""

    def __init__(self) -> None:
        self.taken: list[Message] = []

    async def send(self, message: Message) -> None:
        self.taken.append(message)

    def to(self, email: str) -> list[Message]:
        """What came for an address, the first mail first."""
        return [message for message in self.taken if message.recipient.address == email]


@dataclass(frozen=True, slots=True)
class Placed:
    """An order that a guest placed."""

    email: str
    answer: httpx.Response
    body: Mapping[str, Any]
    key: str

    @property
    def order(self) -> dict[str, Any]:
        order: dict[str, Any] = self.answer.json()["order"]
        return order

    @property
    def id(self) -> str:
        return str(self.order["id"])

    @property
    def headers(self) -> dict[str, str]:
        """With the token that came with the answer."""
        return with_token(self.answer.json()["access_token"])


@dataclass(frozen=True, slots=True)
class GuestShop:
    """The gateway with the services behind it, and what they mailed."""

    gateway: Gateway
    mailbox: Mailbox
    payments: str
    """DSN of the payment database."""

    @property
    def http(self) -> httpx.AsyncClient:
        return self.gateway.http

    async def order(self, email: str = "", *, key: str = "", **changes: Any) -> Placed:
        """Order as a guest."""
        email, key = email or f"guest-{new_id()}@example.test", key or new_id()
        body = order_body(email=email, **changes)
        headers = {"Idempotency-Key": key, "Prefer": "wait=0"}
        answer = await self.http.post("/v1/guest-orders", json=body, headers=headers)
        return Placed(email, answer, body, key)

    async def get(self, path: str, headers: Mapping[str, str]) -> httpx.Response:
        return await self.http.get(path, headers=dict(headers))

    async def mark_pending(self, placed: Placed) -> None:
        """Open the payment and mark the order, as its saga does."""
        await self.open_payment(placed.id)

    async def open_payment(self, order_id: str) -> None:
        """The same of an order of one product, whoever placed it."""
        order = await self.gateway.order.orders.get(order_id, caller=SERVICE)
        total = PRICE + total_change(order.adjustments)
        request = payment_pb2.OpenPaymentRequest(order_id=order_id, user_id=order.user_id, amount=total, currency="EUR")
        opened = await call(self.gateway.services.payment.OpenPayment, request, caller=SERVICE)
        [item] = order.items
        pricing = Pricing(
            lines=[PricedLine(item.product_id, 1, PRICE, "Mug")],
            total=total,
            payment_id=opened.payment.id,
            payment_deadline=datetime(2030, 1, 1, tzinfo=UTC),
        )
        mark = Mark(order_id=order_id, cause_id="pending", to_status=OrderStatus.PENDING)
        await self.gateway.order.orders.mark(mark, pricing)

    async def close(self, placed: Placed, status: OrderStatus, *, reason: str | None = None) -> None:
        """End the order, as its saga does."""
        await self.gateway.order.orders.mark(
            Mark(order_id=placed.id, cause_id="closed", to_status=status, reason=reason)
        )

    async def paid(self, email: str = "") -> Placed:
        """A guest's order that is PAID."""
        placed = await self.order(email)
        await self.mark_pending(placed)
        await self.close(placed, OrderStatus.PAID)
        return placed

    async def deliver(self, placed: Placed) -> list[Message]:
        """Bring the order's events, as Kafka does, and send what is due: the mails that came of it for its address."""
        rows = await fetch_rows(
            self.gateway.order.database,
            "SELECT ce_id, ce_seq, ce_type, data FROM outbox WHERE key = %(id)s ORDER BY id",
            id=placed.id,
        )
        for ce_id, seq, kind, data in rows:
            template, order = TEMPLATE_OF.get(kind), Parse(data, OrderTransitioned())
            if template is not None and (not order.is_guest or concerns_guest(template, order)):
                event = OrderEvent(id=ce_id, seq=seq, template=template, data=order, text=data)
                await self.gateway.notification.notifications.receive(event)
        await self.gateway.notification.sender.process_due()
        return self.mailbox.to(placed.email)

    async def sign_up(self, email: str) -> tuple[str, dict[str, str]]:
        """An account with this address, not confirmed, and the header with its token."""
        account = {"email": email, "password": PASSWORD, "name": "Ada"}
        user = (await self.http.post("/v1/users", json=account)).json()
        token = await self.http.post("/v1/auth/token", json={"email": email, "password": PASSWORD})
        return user["id"], with_token(token.json()["access_token"])

    async def confirm(self, user_id: str) -> None:
        """Do as the link of the account's first mail says."""
        rows = await fetch_rows(
            self.gateway.user.database,
            "SELECT id FROM account_links WHERE user_id = %(user_id)s AND purpose = 'confirm-email'",
            user_id=user_id,
        )
        issued = await self.gateway.user.links.issue(rows[0][0])
        assert (await self.http.post("/v1/confirmations", json={"token": issued.token})).status_code == 204

    async def adopt(self) -> None:
        """Work off what follows from confirmed addresses."""
        await self.gateway.user.adopting.process_due()
        await self.gateway.order.guest_looks.process_due()

    async def numbers_of(self, headers: Mapping[str, str]) -> Sequence[str]:
        """The orders that an account lists."""
        return [order["number"] for order in (await self.get("/v1/orders", headers)).json()["items"]]


def with_token(token: str) -> dict[str, str]:
    """The header with a token."""
    return {"Authorization": f"Bearer {token}"}


def token_in(mail: Message) -> str:
    """The token in a mail's link."""
    assert mail.html is not None
    assert f'href="{ORDER_PAGE}#order=' in mail.html
    [token] = [line.partition("#order=")[2] for line in mail.text.splitlines() if line.startswith(ORDER_PAGE)]
    return token


@asynccontextmanager
async def open_guest_shop(databases: Mapping[str, str], folder: Path) -> AsyncIterator[GuestShop]:
    """The gateway and its services, whose mails are kept."""
    mailbox = Mailbox()
    async with gateway_with_services(databases, stripe_data=folder, mail=mailbox) as gateway:
        yield GuestShop(gateway, mailbox, databases["payment"])
