"""Two processes of every part, each of which is replaced, then killed, while customers order over both gateways.

A rolling update is seen by nobody. A process that is killed is seen as an answer 503, as a request that has to be sent
again, or as one that takes longer; no order is lost, made twice, or ends as it should not.
"""

from __future__ import annotations

import asyncio
import functools
import operator
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import psycopg
import pytest
import pytest_asyncio

from cli.audit.run import audit
from cli.serve import PARTS
from sandbox.names import name_server
from sandbox.ports import Ports
from sandbox.replicas import Replicas
from sandbox.supervisor import Stack
from tests.support.client import until
from tests.support.replicas import two_of_each
from tests.support.steady_load import TIMEOUT, Buyer, Door, add_product, open_door, sign_in, sign_up

pytestmark = [pytest.mark.more, pytest.mark.long]

BUYERS = 2
AT_ONCE = 3
"""Parts that an update replaces at the same time, one of the two processes of each."""
UNITS = 1_000_000
WITHOUT = 4
"""Requests that are answered while a killed process is away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class City:
    """A stack, two of every part on it, and the customers' way in."""

    stack: Stack
    replicas: Replicas
    door: Door
    stripe: httpx.AsyncClient


@pytest_asyncio.fixture(scope="module")
async def city(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[City]:
    """Services are called by names, under which there are those that are ready."""
    ports, folder = Ports.free(), tmp_path_factory.mktemp("city")
    logs = folder / "logs"
    logs.mkdir()
    async with (
        Stack(var=folder / "var", ports=ports, parts=False) as stack,
        name_server() as names,
        two_of_each(stack.settings, gateway_port=ports.gateway, folder=logs, names=names) as replicas,
        open_door(replicas.of("gateway")) as door,
        httpx.AsyncClient(base_url=stack.endpoints.stripe, timeout=TIMEOUT, trust_env=False) as stripe,
    ):
        yield City(stack=stack, replicas=replicas, door=door, stripe=stripe)


@dataclass(slots=True, kw_only=True)
class Market:
    """Customers who buy one product as long as the context of `market` is open."""

    city: City
    admin: dict[str, str]
    product: str
    buyers: list[Buyer]

    async def check(self) -> int:
        """Fail unless every order is there once, ended as it should, and agrees with money and stock; how many."""
        placed = {buyer.id: {order.order_id for order in buyer.placed} for buyer in self.buyers}
        paid = sum(order.outcome == "PAID" for buyer in self.buyers for order in buyer.placed)
        async with await psycopg.AsyncConnection.connect(self.city.stack.endpoints.postgres["order"]) as orders:
            found = await orders.execute(
                "SELECT user_id::text, id::text FROM orders WHERE user_id = ANY(%s::uuid[])", [list(placed)]
            )
            rows = await found.fetchall()
        assert sorted(rows) == sorted((buyer, order) for buyer, ids in placed.items() for order in ids)
        level = (await self.city.door.ask("GET", f"/v1/inventory/{self.product}", headers=self.admin)).json()
        assert (level["on_hand"], level["reserved"]) == (UNITS - paid, 0)
        assert (await audit(self.city.stack.settings))[1] == []
        return len(rows)


@asynccontextmanager
async def market(city: City) -> AsyncIterator[Market]:
    """Inside, customers order; at its end, each follows their last order to its end."""
    account = city.stack.endpoints.accounts["admin"]
    admin = await sign_in(city.door, account.email, account.password)
    product, sold_out = await add_product(city.door, admin, units=UNITS), await add_product(city.door, admin, units=0)
    buyers = [await sign_up(city.door, city.stripe, product=product, sold_out=sold_out) for _ in range(BUYERS)]
    stopping = asyncio.Event()
    async with asyncio.TaskGroup() as shopping:
        for buyer in buyers:
            shopping.create_task(buyer.buy(stopping))
        yield Market(city=city, admin=admin, product=product, buyers=buyers)
        stopping.set()


async def test_an_update_of_every_process_is_seen_by_nobody(
    city: City, record_property: Callable[[str, object], None]
) -> None:
    city.door.is_rough, city.door.slowest = False, 0.0
    answered, sent_again = city.door.answered, city.door.sent_again

    async with market(city) as shopping:
        for wave in zip(*[iter(PARTS)] * AT_ONCE, strict=True):
            for number in range(2):
                await asyncio.gather(*(city.replicas.of(part)[number].replace() for part in wave))

    orders = await shopping.check()
    record_property(
        "figure",
        f"replaced, each of 18 processes: {orders} orders, {city.door.answered - answered} answers, none refused, "
        f"{city.door.sent_again - sent_again} sent again, the slowest after {city.door.slowest:.1f} s",
    )


async def test_the_death_of_any_process_loses_no_order_and_none_ends_as_it_should_not(
    city: City, record_property: Callable[[str, object], None]
) -> None:
    city.door.is_rough = True
    answered, sent_again, refused = city.door.answered, city.door.sent_again, city.door.refused

    slowest = dict.fromkeys(PARTS, 0.0)

    async with market(city) as shopping:
        for part in PARTS:
            city.door.slowest = 0.0
            for replica in city.replicas.of(part):
                await replica.kill()
                enough = city.door.answered + WITHOUT
                await until(city.door.count_answered, functools.partial(operator.le, enough))
                await replica.start()
            slowest[part] = city.door.slowest

    orders = await shopping.check()
    record_property(
        "figure",
        f"killed, each of 18 processes: {orders} orders, {city.door.answered - answered} answers, "
        f"{city.door.refused - refused} answers 503, {city.door.sent_again - sent_again} sent again by the load "
        f"balancer; slowest: {', '.join(f'{part} {seconds:.1f} s' for part, seconds in slowest.items())}",
    )
