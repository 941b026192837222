"""The order service where a wake-up gets lost, twins differ, reads are torn, or Temporal hangs."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime

import pytest
import pytest_asyncio
from temporalio.client import Client

from domain.ids import new_id
from domain.orders import CancelledBy, OrderLine, OrderStatus, PricedLine
from domain.saga import OrderInput, SagaPolicy
from runtime.caller import SERVICE
from runtime.clock import utc_now
from runtime.database import Database, Listener
from runtime.wakeups import Wakeups
from services.order.model import Address, Mark, NewOrder, Pricing, saga_input
from services.order.repository import ORDERS_CHANNEL
from services.order.sagas import SagaUnavailable, TemporalSagas
from services.order.service import OrderService
from tests.support.rows import fetch_rows

POLICY = SagaPolicy(payment_attempts=3, attention_after_seconds=60, payment_event_patience_seconds=5)
ADDRESS = Address(name="Customer", line1="1 Street", line2="", city="Town", postal_code="12345", country="DE")

EVENTS = "SELECT ce_seq FROM outbox WHERE key = %(order_id)s ORDER BY id"


class Starts:
    """Records which sagas were started."""

    def __init__(self) -> None:
        self.started: asyncio.Queue[str] = asyncio.Queue()

    async def start(self, order: OrderInput) -> None:
        self.started.put_nowait(order.order_id)

    async def cancel(self, order_id: str, cancelled_by: CancelledBy) -> None:
        raise SagaUnavailable("nobody cancels here")


@pytest_asyncio.fixture(scope="module")
async def database(databases: Mapping[str, str]) -> AsyncIterator[Database]:
    database = Database(databases["order"], pool_size=8)
    yield database
    await database.close()


@pytest.fixture
def starts() -> Starts:
    return Starts()


@pytest.fixture
def hung_server() -> Iterator[str]:
    """The address of a server that takes connections and says nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def new_order() -> NewOrder:
    return NewOrder(
        user_id=new_id(),
        lines=[OrderLine(new_id(), 2)],
        currency="EUR",
        shipping_address=ADDRESS,
        payment_method=None,
        expected_total=None,
        payment_window_seconds=900,
    )


async def make_pending(orders: OrderService, order_id: str, new: NewOrder) -> None:
    lines = [PricedLine(line.product_id, line.quantity, 500) for line in new.lines]
    deadline = datetime(2030, 1, 1, tzinfo=UTC)
    pricing = Pricing(lines=lines, total=1_000, payment_id=new_id(), payment_deadline=deadline)
    await orders.mark(Mark(order_id=order_id, cause_id="pending", to_status=OrderStatus.PENDING), pricing)


async def test_an_order_that_moved_unheard_is_not_answered_as_accepted_only(database: Database, starts: Starts) -> None:
    orders = OrderService(database, starts, Wakeups(), policy=POLICY, clock=utc_now)  # nothing listens
    new = new_order()
    answer = asyncio.create_task(orders.create(new, idempotency_key="key", wait=0.5))

    await make_pending(orders, await starts.started.get(), new)
    created = await answer

    assert (created.order.status, created.accepted_only) == (OrderStatus.PENDING, False)


async def test_a_twin_that_waited_longer_gets_the_first_answers_code(database: Database, starts: Starts) -> None:
    wakeups = Wakeups()
    orders = OrderService(database, starts, wakeups, policy=POLICY, clock=utc_now)
    new = new_order()
    async with Listener(database.dsn, channel=ORDERS_CHANNEL, on_wake=wakeups.wake):
        first = asyncio.create_task(orders.create(new, idempotency_key="key", wait=0.3))
        order_id = await starts.started.get()
        twin = asyncio.create_task(orders.create(new, idempotency_key="key", wait=20))
        assert (await first).accepted_only

        await make_pending(orders, order_id, new)

        assert (await twin).replayed
        assert (await twin).accepted_only


async def test_an_order_that_moves_while_it_is_read_is_of_one_moment(database: Database, starts: Starts) -> None:
    orders = OrderService(database, starts, Wakeups(), policy=POLICY, clock=utc_now)
    for _ in range(20):
        new = new_order()
        order_id = (await orders.create(new, idempotency_key=new_id(), wait=0)).order.id

        order, *_ = await asyncio.gather(
            orders.get(order_id, caller=SERVICE),
            make_pending(orders, order_id, new),
            orders.mark(
                Mark(order_id=order_id, cause_id="closed", to_status=OrderStatus.FAILED, reason="OUT_OF_STOCK")
            ),
        )

        assert order.transitions[-1].to_status is order.status


async def test_of_two_marks_at_once_each_finds_the_order_where_the_other_left_it(
    database: Database, starts: Starts
) -> None:
    orders = OrderService(database, starts, Wakeups(), policy=POLICY, clock=utc_now)
    for _ in range(20):
        new = new_order()
        order_id = (await orders.create(new, idempotency_key=new_id(), wait=0)).order.id
        await make_pending(orders, order_id, new)

        paid, failed, again = await asyncio.gather(
            orders.mark(Mark(order_id=order_id, cause_id="paid", to_status=OrderStatus.PAID)),
            orders.mark(Mark(order_id=order_id, cause_id="failed", to_status=OrderStatus.FAILED, reason="STOCK_LOST")),
            orders.mark(Mark(order_id=order_id, cause_id="paid", to_status=OrderStatus.PAID)),
        )
        order = await orders.get(order_id, caller=SERVICE)

        assert paid.status is failed.status is again.status is order.status
        assert [transition.seq for transition in order.transitions] == [1, 2, 3]
        assert [ce_seq for (ce_seq,) in await fetch_rows(database, EVENTS, order_id=order_id)] == [1, 2, 3]


async def test_a_temporal_that_hangs_does_not_hold_up_the_answer(hung_server: str) -> None:
    client = await Client.connect(hung_server, lazy=True)
    starter = TemporalSagas(client, task_queue="none")

    async with asyncio.timeout(4):
        with pytest.raises(SagaUnavailable):
            await starter.start(saga_input(new_id(), new_order(), POLICY))
