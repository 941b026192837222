"""A part that runs several times: calls reach all of it, by name or by list, and go on when one is added or stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, Final

import pytest

from ordersaga.product.v1 import product_pb2 as pb
from ordersaga.product.v1.product_pb2_grpc import ProductServiceStub, add_ProductServiceServicer_to_server
from runtime.caller import SERVICE
from runtime.identity import Part
from runtime.permissions import allow
from runtime.rpc_client import ServiceUnavailable, call, open_channel
from runtime.rpc_server import GrpcService, RpcServer
from sandbox.names import NameServer, name_server
from sandbox.ports import free_port
from services.product.server import ProductServicer
from tests.support.identities import VERIFIER, credentials

NAME: Final = "product.example.test"
CONNECTION_AGE: Final = 0.5
TIMEOUT: Final = 30


class Counting(ProductServicer):
    """Counts what it is asked."""

    def __init__(self) -> None:  # without the components of the real one, none of whose methods is called
        self.calls = 0

    @allow(Part.NOTIFICATION)
    async def GetProduct(  # noqa: N802 - gRPC's
        self, request: pb.GetProductRequest, context: Any
    ) -> pb.GetProductResponse:
        self.calls += 1
        return pb.GetProductResponse()


@asynccontextmanager
async def replica(
    address: str, servicer: Counting, *, connection_age: float = CONNECTION_AGE
) -> AsyncIterator[RpcServer]:
    descriptor = pb.DESCRIPTOR.services_by_name["ProductService"]
    service = GrpcService(descriptor, servicer, add_ProductServiceServicer_to_server)
    async with RpcServer(
        address,
        [service],
        credentials=credentials(Part.PRODUCT),
        verifier=VERIFIER,
        grace=1,
        connection_age=connection_age,
    ) as server:
        yield server


@asynccontextmanager
async def asking(hosts: str) -> AsyncIterator[Callable[[], Any]]:
    """One call after the other."""
    async with open_channel(Part.PRODUCT, hosts, credentials(Part.NOTIFICATION)) as channel:
        stub = ProductServiceStub(channel)

        async def ask() -> None:
            await call(stub.GetProduct, pb.GetProductRequest(), caller=SERVICE, deadline=TIMEOUT)

        yield ask


async def ask_until(ask: Callable[[], Any], condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT):
        while not condition():
            await ask()
            await asyncio.sleep(0.01)


@pytest.fixture
async def names() -> AsyncIterator[NameServer]:
    async with name_server() as server:
        yield server


@contextmanager
def same_port(hosts: Sequence[str]) -> Iterator[list[str]]:
    """The hosts, each with the one port that is free on all of them."""
    port = free_port()
    yield [f"{host}:{port}" for host in hosts]


async def test_a_replica_that_is_added_under_the_name_gets_calls_and_one_that_stops_costs_none(
    names: NameServer,
) -> None:
    hosts = ["127.0.0.1", "127.0.0.2"]
    first, second = Counting(), Counting()
    async with AsyncExitStack() as stack:
        addresses = stack.enter_context(same_port(hosts))
        one = await stack.enter_async_context(AsyncExitStack())
        await one.enter_async_context(replica(addresses[0], first))
        await stack.enter_async_context(replica(addresses[1], second))
        names.addresses = {NAME: hosts[:1]}
        port = int(addresses[0].rpartition(":")[2])
        ask = await stack.enter_async_context(asking(names.target(NAME, port)))
        await ask_until(ask, lambda: first.calls >= 10)
        assert second.calls == 0

        names.addresses = {NAME: hosts}
        await ask_until(ask, lambda: second.calls >= 10)

        names.addresses = {NAME: hosts[1:]}
        await one.aclose()
        before = second.calls
        await ask_until(ask, lambda: second.calls >= before + 50)


async def test_calls_take_turns_over_a_list_of_hosts_and_leave_out_who_is_away() -> None:
    first, second = Counting(), Counting()
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(AsyncExitStack())
        await one.enter_async_context(replica(addresses[0], first))
        await stack.enter_async_context(replica(addresses[1], second))
        ask = await stack.enter_async_context(asking(",".join(addresses)))
        await ask_until(ask, lambda: min(first.calls, second.calls) >= 10)

        await one.aclose()
        before = second.calls
        await ask_until(ask, lambda: second.calls >= before + 50)
        await one.enter_async_context(replica(addresses[0], first))
        before = first.calls
        await ask_until(ask, lambda: first.calls >= before + 10)


@pytest.mark.parametrize("known_first", [True, False])
async def test_a_host_of_a_list_whose_name_nobody_knows_costs_no_call(*, known_first: bool) -> None:
    replica_of_ours = Counting()
    address, unknown = f"127.0.0.1:{free_port()}", "nobody.invalid:1"
    async with replica(address, replica_of_ours):
        hosts = [address, unknown] if known_first else [unknown, address]
        async with asking(",".join(hosts)) as ask:
            for _ in range(10):
                await ask()
    assert replica_of_ours.calls == 10


async def test_a_replica_that_is_going_to_stop_is_asked_no_more() -> None:
    first, second = Counting(), Counting()
    hosts = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    async with (
        replica(hosts[0], first, connection_age=600) as leaving,
        replica(hosts[1], second, connection_age=600),
        asking(",".join(hosts)) as ask,
    ):
        await ask_until(ask, lambda: first.calls > 0 and second.calls > 0)

        await leaving.say_farewell()

        async with asyncio.timeout(TIMEOUT):
            while True:
                before = first.calls
                await asyncio.gather(*(ask() for _ in range(20)))
                if first.calls == before:
                    break


async def test_when_the_only_replica_that_a_name_was_known_to_have_stops_calls_find_the_next_one(
    names: NameServer,
) -> None:
    hosts = ["127.0.0.1", "127.0.0.2"]
    first, second = Counting(), Counting()
    with same_port(hosts) as addresses:
        names.addresses = {NAME: hosts[:1]}
        target = names.target(NAME, int(addresses[0].rpartition(":")[2]))
        async with (
            replica(addresses[0], first, connection_age=600) as leaving,
            replica(addresses[1], second, connection_age=600),
            asking(target) as ask,
        ):
            await ask()
            names.addresses = {NAME: hosts[1:]}  # as once the next one is ready, which callers have not heard of

            await leaving.say_farewell()
            await ask_until(ask, lambda: second.calls >= 10)
    assert first.calls > 0


async def test_a_call_waits_for_one_of_its_hosts_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.rpc_client._PATIENCE", TIMEOUT)
    ours = Counting()
    hosts = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    async with asking(",".join(hosts)) as ask:
        asked = asyncio.create_task(ask())
        done, _ = await asyncio.wait({asked}, timeout=0.2)
        assert not done

        async with replica(hosts[1], ours):
            await asked
    assert ours.calls == 1


async def test_a_call_does_not_wait_for_hosts_that_stay_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.rpc_client._PATIENCE", 0.1)
    hosts = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    async with asking(",".join(hosts)) as ask:
        with pytest.raises(ServiceUnavailable):
            await ask()
