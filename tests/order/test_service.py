"""The order service's use cases on a real PostgreSQL; a recorder stands where Temporal would be asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from domain.ids import new_id
from domain.orders import CancelledBy, OrderLine, OrderStatus, PricedLine
from domain.saga import OrderInput, SagaPolicy
from runtime.caller import Caller, CallerRole
from runtime.clock import utc_now
from runtime.database import Database, Listener
from runtime.wakeups import Wakeups
from services.order.errors import IdempotencyKeyReused, OrderNotFound
from services.order.model import Address, Mark, NewOrder, Pricing
from services.order.repository import ORDERS_CHANNEL
from services.order.sagas import SagaSweep, SagaUnavailable
from services.order.service import OrderService
from tests.support.rows import fetch_rows

POLICY = SagaPolicy(payment_attempts=3, attention_after_seconds=60, payment_event_patience_seconds=5)
ADDRESS = Address(name="Customer", line1="1 Street", line2="", city="Town", postal_code="12345", country="DE")
DEADLINE = datetime(2030, 1, 1, tzinfo=UTC)


class Starts:
    """Records which sagas were started; refuses while `away`."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.has_started = asyncio.Event()
        self.away = False

    async def start(self, order: OrderInput) -> None:
        if self.away:
            raise SagaUnavailable("away")
        self.started.append(order.order_id)
        self.has_started.set()

    async def cancel(self, order_id: str, cancelled_by: CancelledBy) -> None:
        raise SagaUnavailable("nobody cancels here")


@pytest_asyncio.fixture(scope="module")
async def database(databases: Mapping[str, str]) -> AsyncIterator[Database]:
    database = Database(databases["order"], pool_size=8)
    yield database
    await database.close()


@pytest_asyncio.fixture(scope="module")
async def wakeups(database: Database) -> AsyncIterator[Wakeups]:
    wakeups = Wakeups()
    async with Listener(database.dsn, channel=ORDERS_CHANNEL, on_wake=wakeups.wake):
        yield wakeups


@pytest.fixture
def starts() -> Starts:
    return Starts()


@pytest.fixture
def orders(database: Database, starts: Starts, wakeups: Wakeups) -> OrderService:
    return OrderService(database, starts, wakeups, policy=POLICY, clock=utc_now)


def new_order(**changes: Any) -> NewOrder:
    order = NewOrder(
        user_id=new_id(),
        lines=[OrderLine(new_id(), 2)],
        currency="EUR",
        shipping_address=ADDRESS,
        payment_method=None,
        expected_total=None,
        payment_window_seconds=900,
    )
    return replace(order, **changes)


async def received(orders: OrderService, new: NewOrder | None = None) -> str:
    created = await orders.create(new or new_order(), idempotency_key=new_id(), wait=0)
    return created.order.id


def pending(order_id: str) -> Mark:
    return Mark(order_id=order_id, cause_id="pending", to_status=OrderStatus.PENDING)


def pricing(new: NewOrder) -> Pricing:
    lines = [PricedLine(line.product_id, line.quantity, 500) for line in new.lines]
    return Pricing(lines=lines, total=sum(line.total for line in lines), payment_id=new_id(), payment_deadline=DEADLINE)


async def test_an_accepted_order_has_its_history_its_event_and_its_saga(
    orders: OrderService, database: Database, starts: Starts
) -> None:
    created = await orders.create(new_order(), idempotency_key="key", wait=0)

    order_id = created.order.id
    assert created.accepted_only
    assert starts.started == [order_id]
    assert [(t.seq, t.from_status, t.to_status) for t in created.order.transitions] == [(1, None, OrderStatus.RECEIVED)]
    assert await fetch_rows(database, "SELECT ce_id, ce_type FROM outbox WHERE key = %(id)s", id=order_id) == [
        (f"order:{order_id}:1", "order.received")
    ]


async def test_the_same_key_and_request_is_the_same_order(orders: OrderService, starts: Starts) -> None:
    new = new_order()

    first = await orders.create(new, idempotency_key="key", wait=0)
    again = await orders.create(new, idempotency_key="key", wait=0)

    assert (again.order.id, again.replayed, again.accepted_only) == (first.order.id, True, True)
    assert starts.started == [first.order.id]


async def test_the_same_key_with_another_request_is_refused(orders: OrderService) -> None:
    new = new_order()
    await orders.create(new, idempotency_key="key", wait=0)

    with pytest.raises(IdempotencyKeyReused):
        await orders.create(replace(new, currency="USD"), idempotency_key="key", wait=0)


async def test_the_same_key_of_another_user_is_another_order(orders: OrderService) -> None:
    new = new_order()

    first = await orders.create(new, idempotency_key="key", wait=0)
    second = await orders.create(replace(new, user_id=new_id()), idempotency_key="key", wait=0)

    assert first.order.id != second.order.id


async def test_parallel_twins_make_one_order(orders: OrderService, starts: Starts) -> None:
    new = new_order()

    twins = await asyncio.gather(*(orders.create(new, idempotency_key="twin", wait=0) for _ in range(8)))

    assert len({twin.order.id for twin in twins}) == 1
    assert [twin.replayed for twin in twins].count(False) == 1
    assert len(starts.started) == 1


async def test_a_request_is_answered_as_soon_as_its_order_moves(orders: OrderService, starts: Starts) -> None:
    new = new_order()
    answer = asyncio.create_task(orders.create(new, idempotency_key="key", wait=60))
    await starts.has_started.wait()

    await orders.mark(pending(starts.started[0]), pricing(new))
    created = await answer

    assert (created.order.status, created.accepted_only) == (OrderStatus.PENDING, False)


async def test_an_order_is_accepted_while_temporal_is_away_and_started_by_the_sweep(
    orders: OrderService, database: Database, starts: Starts
) -> None:
    starts.away = True
    order_id = await received(orders)
    sweep = SagaSweep(database, starts, policy=POLICY, interval=60)
    assert await sweep.sweep(older_than=timedelta(0)) == 0

    starts.away = False
    await sweep.sweep(older_than=timedelta(0))
    await sweep.sweep(older_than=timedelta(0))

    assert starts.started.count(order_id) == 1


async def test_a_mark_writes_prices_history_and_event_at_once(orders: OrderService, database: Database) -> None:
    new = new_order()
    order_id = await received(orders, new)

    state = await orders.mark(pending(order_id), pricing(new))
    order = await orders.get(order_id, caller=Caller(CallerRole.CUSTOMER, new.user_id))

    assert (state.status, state.payment_deadline) == (OrderStatus.PENDING, DEADLINE)
    assert (order.total, order.items[0].unit_price) == (1_000, 500)
    assert [t.to_status for t in order.transitions] == [OrderStatus.RECEIVED, OrderStatus.PENDING]
    assert await fetch_rows(database, "SELECT ce_type FROM outbox WHERE key = %(id)s ORDER BY id", id=order_id) == [
        ("order.received",),
        ("order.created",),
    ]


async def test_a_repeated_mark_returns_the_stored_deadline_and_makes_no_second_event(
    orders: OrderService, database: Database
) -> None:
    new = new_order()
    order_id = await received(orders, new)
    first = pricing(new)
    await orders.mark(pending(order_id), first)

    again = await orders.mark(pending(order_id), replace(first, payment_deadline=DEADLINE + timedelta(days=1)))

    assert again.payment_deadline == DEADLINE
    assert len(await fetch_rows(database, "SELECT 1 FROM outbox WHERE key = %(id)s", id=order_id)) == 2


async def test_a_closed_order_keeps_its_status(orders: OrderService) -> None:
    order_id = await received(orders)
    failed = Mark(order_id=order_id, cause_id="closed", to_status=OrderStatus.FAILED, reason="OUT_OF_STOCK")
    await orders.mark(failed)

    state = await orders.mark(Mark(order_id=order_id, cause_id="late", to_status=OrderStatus.PAID))

    assert (state.status, state.reason, state.seq) == (OrderStatus.FAILED, "OUT_OF_STOCK", 2)


async def test_of_parallel_marks_exactly_one_wins(orders: OrderService) -> None:
    new = new_order()
    order_id = await received(orders, new)
    await orders.mark(pending(order_id), pricing(new))
    wanted = [OrderStatus.PAID, OrderStatus.FAILED, OrderStatus.CANCELLED] * 3

    states = await asyncio.gather(
        *(
            orders.mark(Mark(order_id=order_id, cause_id=f"cause-{number}", to_status=status))
            for number, status in enumerate(wanted)
        )
    )

    order = await orders.get(order_id, caller=Caller(CallerRole.ADMIN))
    assert {state.status for state in states} == {order.status}
    assert [t.seq for t in order.transitions] == [1, 2, 3]


async def test_marking_an_unknown_order_is_refused(orders: OrderService) -> None:
    with pytest.raises(OrderNotFound):
        await orders.mark(Mark(order_id=new_id(), cause_id="closed", to_status=OrderStatus.FAILED))


async def test_anothers_order_answers_like_one_that_does_not_exist(orders: OrderService) -> None:
    order_id = await received(orders)
    stranger = Caller(CallerRole.CUSTOMER, new_id())

    with pytest.raises(OrderNotFound) as others:
        await orders.get(order_id, caller=stranger)
    with pytest.raises(OrderNotFound) as missing:
        await orders.get(new_id(), caller=stranger)

    assert others.value.code is missing.value.code


async def test_attention_is_kept_once_until_it_is_cleared(orders: OrderService, database: Database) -> None:
    order_id = await received(orders)
    query = "SELECT why, cleared_at IS NULL FROM attention WHERE order_id = %(id)s"

    await orders.raise_attention(order_id=order_id, step="reserve", why="first")
    await orders.raise_attention(order_id=order_id, step="reserve", why="second")
    assert await fetch_rows(database, query, id=order_id) == [("first", True)]

    await orders.clear_attention(order_id=order_id, step="reserve")
    assert await fetch_rows(database, query, id=order_id) == [("first", False)]

    await orders.raise_attention(order_id=order_id, step="reserve", why="third")
    assert await fetch_rows(database, query, id=order_id) == [("third", True)]
