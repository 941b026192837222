"""Sagas that were not started, and requests to cancel that a saga may not have: each has its turn, whatever fails."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from temporalio.service import RPCStatusCode

from domain.orders import CancelledBy, OrderStatus
from domain.saga import OrderInput
from runtime.caller import Caller, CallerRole
from runtime.temporal import TemporalAway, TemporalRefused
from services.order.bootstrap import AT_ONCE
from tests.support.order_shop import OrderShop, open_order_shop
from tests.support.rows import fetch_rows

MANY = 105
"""More than any round of old asked for."""
DUE = {
    "starts": "UPDATE orders SET next_attempt_at = now() WHERE status = 'RECEIVED' RETURNING id",
    "requests": "UPDATE cancellation_requests SET next_attempt_at = now() WHERE settled_at IS NULL RETURNING order_id",
}
STATE = "SELECT attempts, last_error FROM {} WHERE {} = %(id)s"


async def let_time_pass(shop: OrderShop, work: str) -> None:
    """Until everything that is open is due again."""
    await fetch_rows(shop.database, DUE[work])


async def requested(shop: OrderShop, count: int) -> list[str]:
    """Orders, PENDING, each with an open request to cancel it that its saga was not asked for."""
    orders = [await shop.pending() for _ in range(count)]
    shop.sagas.is_away = True
    for order_id in orders:
        admin = Caller(CallerRole.ADMIN, order_id)
        await shop.cancellations.cancel(order_id, caller=admin, note="", idempotency_key="key", wait=0)
    shop.sagas.is_away = False
    await let_time_pass(shop, "requests")
    return orders


async def unstarted(shop: OrderShop, count: int) -> list[str]:
    """Orders, RECEIVED, whose saga could not be started."""
    shop.sagas.is_away = True
    orders = [await shop.received() for _ in range(count)]
    shop.sagas.is_away = False
    await let_time_pass(shop, "starts")
    return orders


def refuse(order_id: str) -> TemporalRefused:
    return TemporalRefused(f"Temporal: INVALID_ARGUMENT: {order_id}", status=RPCStatusCode.INVALID_ARGUMENT)


@asynccontextmanager
async def working(shop: OrderShop) -> AsyncIterator[None]:
    """With what the service does beside its server, but for looking for lost workflows: there is no Temporal here."""
    workers = (shop.components.saga_starts, shop.components.cancellation_requests)
    tasks = [asyncio.create_task(worker.run()) for worker in workers]
    yield
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_an_order_that_temporal_missed_is_started_once_it_is_due(empty_shop: OrderShop) -> None:
    empty_shop.sagas.is_away = True
    order_id = await empty_shop.received()
    starts = empty_shop.components.saga_starts
    assert await starts.process_due() == 0  # its own request may still be at it

    await let_time_pass(empty_shop, "starts")
    assert await starts.process_due() == 1
    empty_shop.sagas.is_away = False
    await let_time_pass(empty_shop, "starts")
    assert await starts.process_due() == 1
    await let_time_pass(empty_shop, "starts")
    assert await starts.process_due() == 0

    assert empty_shop.sagas.started == [order_id]


async def test_an_order_that_has_left_received_needs_no_start(empty_shop: OrderShop) -> None:
    [order_id] = await unstarted(empty_shop, 1)
    await fetch_rows(
        empty_shop.database, "UPDATE orders SET next_attempt_at = now() WHERE id = %(id)s RETURNING id", id=order_id
    )
    await empty_shop.mark_pending(order_id)

    assert await empty_shop.components.saga_starts.process_due() == 0


async def test_every_open_request_is_asked_in_its_turn_while_the_orders_wait(empty_shop: OrderShop) -> None:
    orders = await requested(empty_shop, MANY)
    worker = empty_shop.components.cancellation_requests

    for round_number in range(1, 6):
        await worker.process_due()
        asked = Counter(order_id for order_id, _ in empty_shop.sagas.cancelled)
        assert asked == dict.fromkeys(orders, round_number)
        assert await worker.process_due() == 0  # none is asked again at once
        await let_time_pass(empty_shop, "requests")


async def test_no_request_is_asked_twice_before_each_was_asked_once_while_temporal_is_away(
    empty_shop: OrderShop,
) -> None:
    orders = await requested(empty_shop, MANY)
    worker, asked = empty_shop.components.cancellation_requests, list[str]()

    async def is_away(order_id: str, _: CancelledBy) -> None:
        asked.append(order_id)
        raise TemporalAway("away")

    empty_shop.sagas.on_cancel = is_away
    for _ in range(math.ceil(MANY / AT_ONCE)):
        before = len(asked)
        await worker.process_due()
        assert 0 < len(asked) - before <= AT_ONCE  # the rest is not asked in vain
    assert sorted(asked) == sorted(orders)

    empty_shop.sagas.on_cancel = None
    empty_shop.sagas.cancelled.clear()
    await let_time_pass(empty_shop, "requests")
    await worker.process_due()
    assert sorted(order_id for order_id, _ in empty_shop.sagas.cancelled) == sorted(orders)


async def test_orders_are_started_while_every_request_to_cancel_hangs(empty_shop: OrderShop) -> None:
    await requested(empty_shop, MANY)
    orders = await unstarted(empty_shop, MANY)

    answered = asyncio.Event()

    async def hang(*_: object) -> None:
        await answered.wait()

    empty_shop.sagas.on_cancel = hang
    async with asyncio.timeout(30), working(empty_shop):
        await empty_shop.sagas.next_cancellation()
        while not set(orders) <= set(empty_shop.sagas.started):
            await empty_shop.sagas.next_start()
        asked = len(empty_shop.sagas.cancelled)
        answered.set()

    assert asked == AT_ONCE  # and the rest only when these are answered


async def test_an_order_that_temporal_refuses_for_good_does_not_hold_up_the_others(empty_shop: OrderShop) -> None:
    refused, *orders = await unstarted(empty_shop, AT_ONCE + 2)

    async def start(order: OrderInput) -> None:
        if order.order_id == refused:
            raise refuse(refused)

    empty_shop.sagas.on_start = start
    starts = empty_shop.components.saga_starts
    for _ in range(3):
        await starts.process_due()
        await let_time_pass(empty_shop, "starts")

    assert Counter(empty_shop.sagas.started) == {refused: 3, **dict.fromkeys(orders, 1)}
    state = await fetch_rows(empty_shop.database, STATE.format("orders", "id"), id=refused)
    assert state == [(3, f"Temporal: INVALID_ARGUMENT: {refused}")]


async def test_a_request_that_temporal_refuses_for_good_does_not_hold_up_the_others(empty_shop: OrderShop) -> None:
    refused, *orders = await requested(empty_shop, AT_ONCE + 2)

    async def cancel(order_id: str, _: CancelledBy) -> None:
        if order_id == refused:
            raise refuse(refused)

    empty_shop.sagas.on_cancel = cancel
    worker = empty_shop.components.cancellation_requests
    await worker.process_due()

    assert {order_id for order_id, _ in empty_shop.sagas.cancelled} == {refused, *orders}
    state = await fetch_rows(empty_shop.database, STATE.format("cancellation_requests", "order_id"), id=refused)
    assert state == [(1, f"Temporal: INVALID_ARGUMENT: {refused}")]


@pytest.mark.parametrize("status", [OrderStatus.CANCELLED, OrderStatus.PAID])
async def test_a_request_is_settled_once_its_order_has_closed_however_it_has(
    empty_shop: OrderShop, status: OrderStatus
) -> None:
    [order_id] = await requested(empty_shop, 1)
    worker = empty_shop.components.cancellation_requests
    await worker.process_due()
    await empty_shop.close(order_id, status)

    for _ in range(2):
        await let_time_pass(empty_shop, "requests")
        await worker.process_due()

    assert empty_shop.sagas.cancelled == [(order_id, CancelledBy.ADMIN)]
    settled = "SELECT settled_at IS NOT NULL FROM cancellation_requests WHERE order_id = %(id)s"
    assert await fetch_rows(empty_shop.database, settled, id=order_id) == [(True,)]


async def test_of_two_services_each_takes_what_the_other_has_not(empty_shop: OrderShop) -> None:
    orders = await unstarted(empty_shop, MANY)

    async with open_order_shop(empty_shop.database.dsn) as other:
        shops = (empty_shop, other)
        await asyncio.gather(*(shop.components.saga_starts.process_due() for shop in shops))

    assert sorted(order_id for shop in shops for order_id in shop.sagas.started) == sorted(orders)
