"""Calls between services: what went wrong is named, and work for a caller that has gone knows that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest
from google.protobuf.empty_pb2 import Empty

from domain.ids import new_id
from ordersaga.product.v1.product_pb2 import GetProductRequest
from ordersaga.product.v1.product_pb2_grpc import ProductServiceStub
from runtime.caller import SERVICE
from runtime.deadline import time_left
from runtime.refusal import Unavailable
from runtime.rpc_client import ServiceUnavailable, call, open_channel
from runtime.rpc_server import RpcServer

METHOD = "/ordersaga.tests.v1.TestService/Work"
Work = Callable[[], Awaitable[None]]
Method = grpc.aio.UnaryUnaryMultiCallable[Empty, Empty]


@asynccontextmanager
async def method_that_does(work: Work) -> AsyncIterator[Method]:
    """A method of a service on a real server."""

    async def handle(request: Empty, context: grpc.aio.ServicerContext[Empty, Empty]) -> Empty:
        await work()
        return Empty()

    def add(server: grpc.aio.Server) -> None:
        handler = grpc.unary_unary_rpc_method_handler(
            handle, request_deserializer=Empty.FromString, response_serializer=Empty.SerializeToString
        )
        service, name = METHOD.lstrip("/").split("/")
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: handler}),))

    server = RpcServer("127.0.0.1:0", services=(), add=add, grace=1)
    async with server, open_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel.unary_unary(
            METHOD, request_serializer=Empty.SerializeToString, response_deserializer=Empty.FromString
        )


async def test_a_service_that_is_away_is_named() -> None:
    request = GetProductRequest(product_id=new_id())

    async with open_channel("127.0.0.1:1") as channel:
        with pytest.raises(ServiceUnavailable, match="the product service: UNAVAILABLE") as caught:
            await call(ProductServiceStub(channel).GetProduct, request, caller=SERVICE, deadline=5)

    assert caught.value.service == "product"
    assert isinstance(caught.value, Unavailable)


async def test_trouble_that_passes_is_unavailable_to_the_caller_with_its_text() -> None:
    async def fail() -> None:
        raise Unavailable("come again")

    async with method_that_does(fail) as method:
        with pytest.raises(ServiceUnavailable, match="come again") as caught:
            await call(method, Empty(), caller=SERVICE, deadline=20)

    assert (caught.value.service, caught.value.code) == ("tests", grpc.StatusCode.UNAVAILABLE)


async def test_a_defect_is_internal_to_the_caller_without_its_text() -> None:
    async def fail() -> None:
        raise KeyError("secret")

    async with method_that_does(fail) as method:
        with pytest.raises(ServiceUnavailable) as caught:
            await call(method, Empty(), caller=SERVICE, deadline=20)

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
        calling = asyncio.create_task(call(method, Empty(), caller=SERVICE, deadline=deadline))
        await begun.wait()
        if deadline == 1_000:
            assert not ended.is_set()
            calling.cancel()
        await asyncio.wait([calling])
        await ended.wait()
