"""Calls between services: what went wrong is named, and work for a caller that has gone knows that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from typing import Any, cast

import grpc
import grpc.aio
import pytest

from domain.ids import new_id
from ordersaga.product.v1 import product_pb2 as pb
from ordersaga.product.v1.product_pb2_grpc import ProductServiceStub, add_ProductServiceServicer_to_server
from runtime.caller import SERVICE
from runtime.deadline import begin_work, outside_calls, time_left
from runtime.identity import Part
from runtime.permissions import allow
from runtime.refusal import Shed, Unavailable
from runtime.rpc_client import ServiceUnavailable, open_channel
from runtime.rpc_server import MOST_CALLS, GrpcService
from runtime.work_context import request_id
from services.product.server import ProductServicer
from tests.support.direct_channel import DirectChannel
from tests.support.identities import credentials
from tests.support.in_call import in_call
from tests.support.rpc import call, channel_to
from tests.support.series import grew, samples

Work = Callable[[], Awaitable[None]]
Method = grpc.aio.UnaryUnaryMultiCallable[pb.GetProductRequest, pb.GetProductResponse]
REQUEST = pb.GetProductRequest(product_id=new_id())


class Servicer(ProductServicer):
    """Stands where the product service does, and does something else when it is asked for a product."""

    def __init__(self, work: Work) -> None:  # without the components of the real one, none of whose methods is called
        self._work = work

    @allow(Part.NOTIFICATION)
    async def GetProduct(  # noqa: N802 - gRPC's
        self, request: pb.GetProductRequest, context: Any
    ) -> pb.GetProductResponse:
        await self._work()
        return pb.GetProductResponse()


@asynccontextmanager
async def method_that_does(work: Work) -> AsyncIterator[Method]:
    """A method of a service on a real server."""
    descriptor = pb.DESCRIPTOR.services_by_name["ProductService"]
    async with channel_to(GrpcService(descriptor, Servicer(work), add_ProductServiceServicer_to_server)) as channel:
        yield ProductServiceStub(channel).GetProduct


def method_at_once(work: Work, *, most_calls: int = MOST_CALLS) -> Method:
    """The same without a network, for a server that answers so many calls at a time."""
    service = GrpcService(
        pb.DESCRIPTOR.services_by_name["ProductService"], Servicer(work), add_ProductServiceServicer_to_server
    )
    channel = DirectChannel(service, most_calls=most_calls)
    return ProductServiceStub(cast("grpc.aio.Channel", channel)).GetProduct


async def test_a_service_that_is_away_is_named() -> None:
    async with open_channel(Part.PRODUCT, "127.0.0.1:1", credentials(Part.NOTIFICATION)) as channel:
        with pytest.raises(ServiceUnavailable, match="the product service: UNAVAILABLE") as caught:
            await call(ProductServiceStub(channel).GetProduct, REQUEST, caller=SERVICE, deadline=5)

    assert caught.value.service == "product"
    assert isinstance(caught.value, Unavailable)


async def test_trouble_that_passes_is_unavailable_to_the_caller_with_its_text() -> None:
    async def fail() -> None:
        raise Unavailable("come again")

    async with method_that_does(fail) as method:
        with pytest.raises(ServiceUnavailable, match="come again") as caught:
            await call(method, REQUEST, caller=SERVICE, deadline=20)

    assert (caught.value.service, caught.value.code) == ("product", grpc.StatusCode.UNAVAILABLE)


async def test_a_defect_is_internal_to_the_caller_without_its_text() -> None:
    async def fail() -> None:
        raise KeyError("secret")

    async with method_that_does(fail) as method:
        with pytest.raises(ServiceUnavailable) as caught:
            await call(method, REQUEST, caller=SERVICE, deadline=20)

    assert caught.value.code is grpc.StatusCode.INTERNAL
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("deadline", [1, 1_000], ids=["past its deadline", "cancelled"])
async def test_a_handler_goes_on_when_its_caller_has_gone_and_knows_it(deadline: float) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        while (time_left() or 0) > 0:  # noqa: ASYNC110 - nobody tells it
            await asyncio.sleep(0.01)
        ended.set()

    async with method_that_does(work) as method, asyncio.timeout(30):
        calling = asyncio.create_task(call(method, REQUEST, caller=SERVICE, deadline=deadline))
        await begun.wait()
        if deadline == 1_000:
            assert not ended.is_set()
            calling.cancel()
        await asyncio.wait([calling])
        await ended.wait()


async def test_who_is_turned_away_learns_that_nothing_was_begun_and_when_to_come_again() -> None:
    async def turn_away() -> None:
        raise Shed("too many callers", why="full_line")

    before = samples()
    async with method_that_does(turn_away) as method:
        with pytest.raises(ServiceUnavailable, match="too many callers") as caught:
            await call(method, REQUEST, caller=SERVICE, deadline=20)

    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    assert caught.value.retry_after is not None
    assert 1 <= caught.value.retry_after <= 3
    assert grew(before, samples(), "ordersaga_shed_total", why="full_line") == 1


async def test_who_is_told_by_the_service_when_to_come_again_learns_that() -> None:
    async def turn_away() -> None:
        raise Shed("too many orders", why="orders_wait", retry_after=12.5)

    async with method_that_does(turn_away) as method:
        with pytest.raises(ServiceUnavailable, match="too many orders") as caught:
            await call(method, REQUEST, caller=SERVICE, deadline=20)

    assert caught.value.retry_after == 12.5


async def test_trouble_after_something_was_begun_says_nothing_of_when_to_come_again() -> None:
    async def fail() -> None:
        begin_work()
        raise Unavailable("half of it is done")

    async with method_that_does(fail) as method:
        with pytest.raises(ServiceUnavailable, match="half of it") as caught:
            await call(method, REQUEST, caller=SERVICE, deadline=20)

    assert caught.value.retry_after is None


@pytest.mark.parametrize("counts", [True, False], ids=["done for the call", "done beside it"])
async def test_who_is_turned_away_after_another_call_is_not_told_that_nothing_was_begun(counts: bool) -> None:
    is_busy = False

    async def work() -> None:
        if is_busy:
            raise Shed("too many callers", why="full_line")

    async with method_that_does(work) as method:
        with in_call(None):
            with nullcontext() if counts else outside_calls():
                await call(method, REQUEST, caller=SERVICE, deadline=20)
            is_busy = True
            with pytest.raises(ServiceUnavailable, match="too many callers") as caught:
                await call(method, REQUEST, caller=SERVICE, deadline=20)

    assert (caught.value.retry_after is None) is counts


async def test_a_call_beyond_those_that_are_answered_at_a_time_is_turned_away_at_once() -> None:
    begun, end = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        await end.wait()

    method = method_at_once(work, most_calls=1)
    first = asyncio.create_task(call(method, REQUEST, caller=SERVICE, deadline=1_000))
    await begun.wait()
    with pytest.raises(ServiceUnavailable, match="too many callers") as caught:
        await call(method, REQUEST, caller=SERVICE, deadline=1_000)
    end.set()
    await first
    await call(method, REQUEST, caller=SERVICE, deadline=1_000)

    assert caught.value.retry_after is not None


async def test_nothing_is_begun_for_a_caller_who_had_gone_when_the_call_was_taken_up() -> None:
    begun: list[str] = []

    async def work() -> None:
        begun.append("it")

    before = samples()
    with pytest.raises(ServiceUnavailable, match="gone"):
        await call(method_at_once(work), REQUEST, caller=SERVICE, deadline=0)

    assert begun == []
    assert grew(before, samples(), "ordersaga_shed_total", why="caller_gone") == 1


@pytest.mark.parametrize("is_begun", [False, True], ids=["before it is begun", "once it is begun"])
async def test_work_whose_caller_goes_is_dropped_before_it_is_begun_and_finished_after(is_begun: bool) -> None:
    waiting, ended = asyncio.Event(), asyncio.Event()
    done: list[str] = []

    async def work() -> None:
        try:
            if is_begun:
                begin_work()
            waiting.set()
            while (time_left() or 0) > 0:  # noqa: ASYNC110 - nobody tells it
                await asyncio.sleep(0.01)
            begin_work()
            done.append("written")
        finally:
            ended.set()

    async with method_that_does(work) as method, asyncio.timeout(30):
        calling = asyncio.create_task(call(method, REQUEST, caller=SERVICE, deadline=1_000))
        await waiting.wait()
        calling.cancel()
        await asyncio.wait([calling])
        await ended.wait()

    assert done == (["written"] if is_begun else [])


async def test_the_id_of_the_clients_request_goes_along_and_stays_with_it() -> None:
    seen: list[str] = []

    async def work() -> None:
        seen.append(request_id.get())

    async with method_that_does(work) as method:
        for known in ("mine", "yours", ""):
            token = request_id.set(known)
            await call(method, REQUEST, caller=SERVICE, deadline=20)
            request_id.reset(token)

    assert seen == ["mine", "yours", ""]
