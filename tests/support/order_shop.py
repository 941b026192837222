"""The real order service for tests of it alone: its sagas are recorded, and the tests move orders where these would."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.protobuf.json_format import Parse

from cli.audit.facts import Facts
from cli.audit.invariants import histories_are_legal
from cli.audit.read_databases import read_orders
from domain.ids import new_id
from domain.orders import OrderLine, OrderStatus, PricedLine, total_change
from ordersaga.events.v1.order_events_pb2 import OrderTransitioned
from runtime.caller import SERVICE
from runtime.clock import Clock, utc_now
from runtime.database import Database
from runtime.settings import Settings
from services.order.attention.service import AttentionService
from services.order.bootstrap import OrderComponents, bootstrap
from services.order.cancellation_service import CancellationService
from services.order.model import Address, Mark, NewOrder, Order, OrderState, Pricing, RefundUpdate
from services.order.service import OrderService
from tests.support.identities import tls_settings
from tests.support.recorded_sagas import RecordedSagas
from tests.support.rows import fetch_rows

TOTAL = 1_000
DEADLINE = datetime(2030, 1, 1, tzinfo=UTC)


def new_order(**changes: Any) -> NewOrder:
    """A request for two units of a product, as changed."""
    values: dict[str, Any] = {
        "user_id": new_id(),
        "lines": [OrderLine(new_id(), 2)],
        "currency": "EUR",
        "shipping_address": Address(
            name="Customer", line1="1 Street", line2="", city="Town", postal_code="12345", country="DE"
        ),
        "payment_window_seconds": 900,
    }
    return NewOrder(**{**values, **changes})


def refund_update(order_id: str, refund_id: str = "", **changes: Any) -> RefundUpdate:
    """A refund of a tenth of the order's money has succeeded, or what the changes say."""
    values = {"order_id": order_id, "refund_id": refund_id or new_id(), "amount": 100, "succeeded": True, "version": 2}
    return RefundUpdate(**{**values, **changes})


def revised(update: RefundUpdate, **changes: Any) -> RefundUpdate:
    """Another update of the same refund."""
    return RefundUpdate(**{**update.model_dump(), **changes})


@dataclass(frozen=True, slots=True)
class OrderShop:
    """The order service, and what it left in its database."""

    components: OrderComponents
    sagas: RecordedSagas

    @property
    def database(self) -> Database:
        return self.components.database

    @property
    def orders(self) -> OrderService:
        return self.components.orders

    @property
    def attention(self) -> AttentionService:
        return self.components.attention

    @property
    def cancellations(self) -> CancellationService:
        return self.components.cancellations

    async def received(self, new: NewOrder | None = None) -> str:
        """A new order of 10.00 EUR."""
        return (await self.orders.create(new or new_order(), idempotency_key=new_id(), wait=0)).order.id

    async def pending(self, new: NewOrder | None = None) -> str:
        """The same, PENDING."""
        order_id = await self.received(new)
        await self.mark_pending(order_id)
        return order_id

    async def paid(self) -> str:
        """The same, PAID: transition 3."""
        order_id = await self.pending()
        await self.close(order_id, OrderStatus.PAID)
        return order_id

    async def mark_pending(self, order_id: str, *, payment_deadline: datetime = DEADLINE) -> OrderState:
        """Do what the saga does once the stock is reserved and the payment is open."""
        order = await self.order(order_id)
        units = sum(item.quantity for item in order.items)
        lines = [PricedLine(item.product_id, item.quantity, TOTAL // units) for item in order.items]
        pricing = Pricing(
            lines=lines,
            total=sum(line.total for line in lines) + total_change(order.adjustments),
            payment_id=new_id(),
            payment_deadline=payment_deadline,
        )
        mark = Mark(order_id=order_id, cause_id="pending", to_status=OrderStatus.PENDING)
        return await self.orders.mark(mark, pricing)

    async def close(self, order_id: str, status: OrderStatus, *, reason: str | None = None) -> OrderState:
        """Do what the saga does at its end."""
        return await self.orders.mark(
            Mark(order_id=order_id, cause_id="order_saga:closed", to_status=status, reason=reason)
        )

    async def order(self, order_id: str) -> Order:
        """The order as it stands."""
        return await self.orders.get(order_id, caller=SERVICE)

    async def history(self, order_id: str) -> list[str]:
        """The statuses that a paid order went through since."""
        return [transition.to_status.value for transition in (await self.order(order_id)).transitions[3:]]

    async def events(self, order_id: str, *, after: int = 3) -> list[tuple[int, str, OrderTransitioned]]:
        """Number, type and data of the order's events since it was paid, in the order in which they are published."""
        rows = await fetch_rows(
            self.database,
            "SELECT ce_seq, ce_type, data FROM outbox WHERE key = %(id)s AND ce_seq > %(after)s ORDER BY id",
            id=order_id,
            after=after,
        )
        return [(seq, kind, Parse(data, OrderTransitioned())) for seq, kind, data in rows]

    async def refunds(self, order_id: str) -> list[tuple[int, bool, int]]:
        """Amount, success and version of each refund that the order knows of."""
        query = "SELECT amount, succeeded, version FROM order_refunds WHERE order_id = %(id)s ORDER BY refund_id"
        return await fetch_rows(self.database, query, id=order_id)

    async def disagreements(self, order_id: str) -> Sequence[str]:
        """What the audit says of the order's history."""
        orders, transitions = await read_orders(self.database.dsn)
        facts = Facts(
            read_at=datetime.now(UTC),
            orders={order_id: orders[order_id]},
            transitions=[row for row in transitions if row.order_id == order_id],
            reservations={},
            stock=[],
            restocks=[],
            payments={},
            refunds=[],
            disputes=[],
            waiting_events=[],
            intents={},
            runs={},
            published={},
        )
        return [breach.what for breach in histories_are_legal(facts)]


@asynccontextmanager
async def open_order_shop(
    dsn: str,
    *,
    pool_size: int = 8,
    database: Database | None = None,
    clock: Clock = utc_now,
    **settings_of_test: object,
) -> AsyncIterator[OrderShop]:
    """The service on this database, with these settings; its sagas do nothing, unless a test says what."""
    settings = Settings.model_validate(
        {"order_dsn": dsn, "database_pool_size": pool_size, **tls_settings(), **settings_of_test}
    )
    sagas = RecordedSagas()
    async with bootstrap(settings, database=database, sagas=sagas, clock=clock) as components, components.listener:
        yield OrderShop(components, sagas)
