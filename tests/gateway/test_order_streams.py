"""Streams that are opened in a rush, before an order service that is slow."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, Final

import pytest

from api import order_streams
from api.order_streams import OrderStream, OrderStreams
from api.problems import SERVICE_UNAVAILABLE, ProblemError
from api.stream_room import StreamLimits, StreamRoom
from domain.ids import new_id
from ordersaga.order.v1 import order_pb2 as pb
from runtime.caller import Caller, CallerRole
from tests.support.identities import VERIFIER, signed_in

_RECEIVED: Final = pb.Transition(seq=1, to_status=pb.ORDER_STATUS_RECEIVED)


class SlowOrders:
    """An order service that answers reads when it is told to."""

    def __init__(self) -> None:
        self.reading = self.most_reading = 0
        self.is_asked, self.may_answer = asyncio.Event(), asyncio.Event()

    async def ListTransitions(self, request: pb.ListTransitionsRequest, **_: Any) -> pb.ListTransitionsResponse:  # noqa: N802  # gRPC's
        self.reading += 1
        self.is_asked.set()
        self.most_reading = max(self.most_reading, self.reading)
        await self.may_answer.wait()
        self.reading -= 1
        return pb.ListTransitionsResponse(order_id=request.order_id, transitions=[_RECEIVED])

    async def AwaitMoves(self, *_: Any, **__: Any) -> pb.AwaitMovesResponse:  # noqa: N802  # gRPC's
        await asyncio.Event().wait()
        return pb.AwaitMovesResponse()


def make_streams(orders: SlowOrders) -> OrderStreams:
    services: Any = SimpleNamespace(order=orders, deadline=60)
    return OrderStreams(services, VERIFIER, StreamRoom(StreamLimits(streams=100, per_account=100)))


async def open_one(streams: OrderStreams) -> OrderStream:
    stream = await streams.open(new_id(), caller=signed_in(Caller(CallerRole.CUSTOMER, new_id())), after=0)
    assert stream is not None
    return stream


async def test_few_of_a_rush_read_at_a_time() -> None:
    orders = SlowOrders()
    streams = make_streams(orders)
    opening = [asyncio.create_task(open_one(streams)) for _ in range(50)]
    await asyncio.sleep(0)
    orders.may_answer.set()

    opened = await asyncio.gather(*opening)

    assert 1 <= orders.most_reading <= 4
    assert streams.room.taken == streams.moves.followed == 50
    for stream in opened:
        stream.close()
        stream.close()
    assert streams.room.taken == streams.moves.followed == 0


async def test_who_does_not_get_their_turn_in_time_is_told_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order_streams, "_PATIENCE", 0.01)
    orders = SlowOrders()
    streams = make_streams(orders)
    first = [asyncio.create_task(open_one(streams)) for _ in range(4)]
    await asyncio.sleep(0)

    with pytest.raises(ProblemError) as refused:
        await open_one(streams)

    assert refused.value.kind is SERVICE_UNAVAILABLE
    assert streams.room.taken == 4
    orders.may_answer.set()
    for stream in await asyncio.gather(*first):
        stream.close()


async def test_who_goes_while_their_stream_is_opened_leaves_nothing() -> None:
    orders = SlowOrders()
    streams = make_streams(orders)
    opening = [asyncio.create_task(open_one(streams)) for _ in range(10)]
    await asyncio.sleep(0)

    for task in opening:
        task.cancel()
    await asyncio.wait(opening)

    assert streams.room.taken == streams.moves.followed == 0
    orders.may_answer.set()
    (await open_one(streams)).close()


async def test_a_stream_that_reads_while_the_gateway_stops_ends_behind_what_it_has_read() -> None:
    orders = SlowOrders()
    orders.may_answer.set()
    streams = make_streams(orders)
    stream = await open_one(streams)
    events = aiter(stream.events())
    assert (await anext(events)).startswith(b"retry")
    assert (await anext(events)).startswith(b"id: 1")

    orders.may_answer.clear()
    orders.is_asked.clear()
    streams.moves.tell_all()
    reading = asyncio.ensure_future(anext(events))
    await orders.is_asked.wait()
    streams.end()
    orders.may_answer.set()

    assert (await reading).startswith(b"id: 1")
    async with asyncio.timeout(10):  # and not after a heartbeat
        assert [event async for event in events] == []


async def test_nobody_gets_a_stream_of_a_gateway_that_stops() -> None:
    orders = SlowOrders()
    streams = make_streams(orders)
    orders.may_answer.set()
    streams.end()

    with pytest.raises(ProblemError) as refused:
        await open_one(streams)

    assert refused.value.kind is SERVICE_UNAVAILABLE
    assert streams.room.taken == 0


async def test_a_stream_that_was_just_opened_when_the_gateway_stopped_says_what_it_has_and_ends() -> None:
    orders = SlowOrders()
    orders.may_answer.set()
    streams = make_streams(orders)
    stream = await open_one(streams)

    streams.end()

    async with asyncio.timeout(10):
        assert [event[:5] async for event in stream.events()] == [b"retry", b"id: 1"]
