"""How a gateway learns of orders that move: what it asks for its followers, and whom it tells."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any, cast

import grpc
import grpc.aio
import pytest

from api import order_moves
from api.order_moves import OrderMoves
from ordersaga.order.v1 import order_pb2 as pb


class Orders:
    """An order service that answers a call when a test says so, and knows what it was asked."""

    def __init__(self) -> None:
        self.calls: list[dict[str, int]] = []
        self.cancelled = 0
        self._answers: asyncio.Queue[dict[str, int] | None] = asyncio.Queue()

    def answer(self, **moved: int) -> None:
        self._answers.put_nowait(moved)

    def fail(self) -> None:
        self._answers.put_nowait(None)

    async def AwaitMoves(self, request: pb.AwaitMovesRequest, **_: Any) -> pb.AwaitMovesResponse:  # noqa: N802  # gRPC's
        self.calls.append({position.order_id: position.seq for position in request.known})
        try:
            moved = await self._answers.get()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if moved is None:
            nothing = grpc.aio.Metadata()
            raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, nothing, nothing, "it is being started again")
        return pb.AwaitMovesResponse(moved=[pb.OrderPosition(order_id=name, seq=seq) for name, seq in moved.items()])


@pytest.fixture
def orders() -> Orders:
    return Orders()


@pytest.fixture
def moves(orders: Orders, monkeypatch: pytest.MonkeyPatch) -> OrderMoves:
    monkeypatch.setattr(order_moves, "PACE", 0.01)
    return OrderMoves(cast("Any", SimpleNamespace(order=orders, deadline=5)))


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not is_so():  # noqa: ASYNC110  # no event
            await asyncio.sleep(0.001)


async def test_one_call_asks_for_everybody(moves: OrderMoves, orders: Orders) -> None:
    with ExitStack() as stack:
        followers = [stack.enter_context(moves.follow(f"order-{number}", seq=1)) for number in range(1_000)]
        await until(lambda: bool(orders.calls))
        orders.answer(**{f"order-{number}": 2 for number in range(1_000)})

        assert all(await asyncio.gather(*(follower.wait(30) for follower in followers)))

    assert [len(known) for known in orders.calls] == [1_000]


async def test_a_newcomer_is_asked_for_in_the_call_that_takes_the_place_of_the_one_under_way(
    moves: OrderMoves, orders: Orders
) -> None:
    with moves.follow("early", seq=1):
        await until(lambda: len(orders.calls) == 1)
        with moves.follow("late", seq=4):
            await until(lambda: len(orders.calls) == 2)

            assert orders.calls == [{"early": 1}, {"early": 1, "late": 4}]
            assert orders.cancelled == 1


async def test_a_rush_of_newcomers_costs_few_calls(
    moves: OrderMoves, orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order_moves, "PACE", 30)
    with ExitStack() as stack:
        stack.enter_context(moves.follow("first", seq=1))
        await until(lambda: len(orders.calls) == 1)
        for number in range(100):
            stack.enter_context(moves.follow(f"order-{number}", seq=1))
            await asyncio.sleep(0)

        assert len(orders.calls) == 1
        assert orders.cancelled == 0  # nobody is left without a call meanwhile


async def test_one_who_has_more_of_an_order_is_not_told_of_what_they_have(moves: OrderMoves, orders: Orders) -> None:
    with moves.follow("order", seq=1) as behind, moves.follow("order", seq=2) as ahead:
        await until(lambda: orders.calls == [{"order": 1}])
        orders.answer(order=2)

        assert await behind.wait(30)
        await until(lambda: len(orders.calls) == 2)
        assert orders.calls[1] == {"order": 2}
        assert ahead.is_waiting


async def test_who_comes_for_an_order_that_is_asked_for_needs_no_other_call(moves: OrderMoves, orders: Orders) -> None:
    with moves.follow("order", seq=1):
        await until(lambda: len(orders.calls) == 1)
        with moves.follow("order", seq=1) as second:
            orders.answer(order=2)

            assert await second.wait(30)

    assert orders.calls == [{"order": 1}]
    assert orders.cancelled == 0


async def test_nothing_is_lost_while_a_follower_is_busy_with_what_came_before(
    moves: OrderMoves, orders: Orders
) -> None:
    with moves.follow("order", seq=1) as follower, moves.follow("other", seq=1):
        await until(lambda: len(orders.calls) == 1)
        orders.answer(order=2)
        assert await follower.wait(30)
        await until(lambda: len(orders.calls) == 2)  # the order moves to 3 meanwhile, and nobody asks for it
        moves.go_on(follower, seq=2)
        await until(lambda: len(orders.calls) == 3)
        orders.answer(order=3)

        assert await follower.wait(30)

    assert orders.calls == [{"order": 1, "other": 1}, {"other": 1}, {"other": 1, "order": 2}]


async def test_a_service_that_is_away_is_asked_again(moves: OrderMoves, orders: Orders) -> None:
    with moves.follow("order", seq=1) as follower:
        orders.fail()
        orders.answer(order=2)

        assert await follower.wait(30)

    assert orders.calls == [{"order": 1}] * 2


async def test_the_last_who_leaves_ends_the_call(moves: OrderMoves, orders: Orders) -> None:
    with moves.follow("order", seq=1), moves.follow("order", seq=1):
        await until(lambda: len(orders.calls) == 1)

    await until(lambda: orders.cancelled == 1)
    assert moves.followed == 0


async def test_who_comes_when_the_last_has_just_left_is_asked_for(moves: OrderMoves, orders: Orders) -> None:
    with moves.follow("order", seq=1):
        await until(lambda: len(orders.calls) == 1)
    with moves.follow("next", seq=1) as follower:
        await until(lambda: len(orders.calls) == 2)
        orders.answer(next=2)

        assert await follower.wait(30)

    assert orders.calls == [{"order": 1}, {"next": 1}]


async def test_a_wait_in_vain_is_over_in_time(moves: OrderMoves) -> None:
    with moves.follow("order", seq=1) as follower:
        assert not await follower.wait(0.01)


async def test_all_are_told_when_it_is_time_to_go(moves: OrderMoves) -> None:
    with moves.follow("order", seq=1) as one, moves.follow("other", seq=1) as another:
        moves.tell_all()

        assert await one.wait(30)
        assert await another.wait(30)
