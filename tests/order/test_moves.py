"""What happened to an order, and waiting for orders to move."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from domain.ids import new_id
from domain.orders import OrderStatus
from ordersaga.order.v1 import order_pb2 as pb
from ordersaga.order.v1.order_pb2_grpc import OrderServiceStub
from runtime.caller import SERVICE, Caller, CallerRole
from runtime.identity import Part
from runtime.rpc_client import open_channel
from runtime.wakeups import Wakeups
from services.order.errors import OrderNotFound
from services.order.server import grpc_service
from tests.support.identities import credentials
from tests.support.order_shop import OrderShop, new_order
from tests.support.rpc import serving


def later(shop: OrderShop, known: Mapping[str, int], *, wait: float = 60) -> asyncio.Task[Mapping[str, int]]:
    return asyncio.create_task(shop.components.moves.await_moves(known, wait=wait))


async def test_what_moved_before_is_answered_at_once_and_nothing_else(shop: OrderShop) -> None:
    moved, still, missing = await shop.pending(), await shop.received(), new_id()

    async with asyncio.timeout(30):
        found = await shop.components.moves.await_moves({moved: 1, still: 1, missing: 0}, wait=60)

    assert found == {moved: 2}


async def test_everybody_who_waits_for_an_order_is_told_that_it_moves(shop: OrderShop) -> None:
    order_id, other_id = await shop.received(), await shop.received()
    waiting = [later(shop, {order_id: 1, other_id: 1}) for _ in range(20)]
    others = later(shop, {other_id: 1})

    await shop.mark_pending(order_id)

    assert await asyncio.gather(*waiting) == [{order_id: 2}] * 20
    assert not others.done()
    others.cancel()


async def test_a_wait_in_vain_ends_with_nothing(shop: OrderShop) -> None:
    assert await shop.components.moves.await_moves({await shop.received(): 1}, wait=0.05) == {}


async def test_a_move_that_nobody_heard_of_is_found_at_the_end_of_the_wait(
    shop: OrderShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id = await shop.received()
    monkeypatch.setattr(Wakeups, "wake", lambda *_: None)
    waiting = later(shop, {order_id: 1}, wait=3)

    await shop.mark_pending(order_id)

    assert await waiting == {order_id: 2}


async def test_who_waits_holds_no_connection(shop: OrderShop) -> None:
    order_id = await shop.received()
    waiting = [later(shop, {order_id: 1}) for _ in range(100)]
    await asyncio.sleep(0)  # now each of them is at the database, or in the queue for it
    assert shop.database.turns.taken + shop.database.turns.waiting > 0

    async with asyncio.timeout(30):
        while shop.database.turns.taken + shop.database.turns.waiting > 0:  # noqa: ASYNC110  # no event
            await asyncio.sleep(0.01)

    assert not any(task.done() for task in waiting)
    await shop.mark_pending(order_id)
    assert await asyncio.gather(*waiting) == [{order_id: 2}] * 100


async def test_nobody_waits_for_a_service_that_stops(shop: OrderShop) -> None:
    order_id, stopping = await shop.received(), asyncio.Event()
    waiting = later(shop, {order_id: 1})
    ending = asyncio.create_task(shop.components.moves.end_with(stopping))

    stopping.set()

    assert await waiting == {}
    await ending
    assert await shop.components.moves.await_moves({order_id: 1}, wait=60) == {}


async def test_a_gateway_that_hangs_up_leaves_nobody_waiting(shop: OrderShop, monkeypatch: pytest.MonkeyPatch) -> None:
    order_id, left = await shop.received(), asyncio.Event()
    await_moves = shop.components.moves.await_moves
    began = asyncio.Event()

    async def watched(known: Mapping[str, int], *, wait: float) -> Mapping[str, int]:
        began.set()
        try:
            return await await_moves(known, wait=wait)
        finally:
            left.set()

    monkeypatch.setattr(shop.components.moves, "await_moves", watched)
    request = pb.AwaitMovesRequest(known=[pb.OrderPosition(order_id=order_id, seq=1)], wait_ms=30_000)
    async with (
        serving(grpc_service(shop.components)) as address,
        open_channel(Part.ORDER, address, credentials(Part.GATEWAY)) as channel,
    ):
        asking = asyncio.ensure_future(OrderServiceStub(channel).AwaitMoves(request, timeout=60))
        await began.wait()
        asking.cancel()
        async with asyncio.timeout(20):  # and not after thirty
            await left.wait()


async def test_an_order_has_what_happened_behind_a_number(shop: OrderShop) -> None:
    order_id = await shop.pending()
    order = await shop.orders.get(order_id, caller=SERVICE)

    all_of_it = await shop.orders.list_transitions(order_id, caller=SERVICE, after=0)
    rest = await shop.orders.list_transitions(order.number, caller=SERVICE, after=1)
    nothing = await shop.orders.list_transitions(order_id, caller=SERVICE, after=2)

    assert all_of_it.transitions == order.transitions
    assert (rest.id, rest.transitions) == (order_id, order.transitions[1:])
    assert (nothing.transitions, nothing.is_final) == ([], False)


@pytest.mark.parametrize(("status", "is_final"), [("PAID", False), ("FAILED", True), ("CANCELLED", True)])
async def test_nothing_can_follow_where_an_order_ended_unpaid(shop: OrderShop, status: str, is_final: bool) -> None:
    order_id = await shop.pending()
    await shop.close(order_id, OrderStatus(status))

    assert (await shop.orders.list_transitions(order_id, caller=SERVICE, after=0)).is_final is is_final


async def test_what_happened_to_anothers_order_is_not_told(shop: OrderShop) -> None:
    order_id, stranger = await shop.received(new_order()), Caller(CallerRole.CUSTOMER, new_id())

    with pytest.raises(OrderNotFound):
        await shop.orders.list_transitions(order_id, caller=stranger, after=0)
    with pytest.raises(OrderNotFound):
        await shop.orders.list_transitions(new_id(), caller=stranger, after=0)
