"""The stack split into processes: every one can die, none is missed for long."""

from __future__ import annotations

from dataclasses import dataclass

import httpx
import pytest
import pytest_asyncio

from cli.serve import DOUBLES, PARTS
from domain.ids import new_id
from tests.chaos.conftest import Chaos
from tests.support.client import Customer, order_of, until

pytestmark = pytest.mark.more

SERVERS = ("postgres", "temporal", "kafka")


@pytest_asyncio.fixture(scope="module")
async def customer(chaos: Chaos) -> Customer:
    return await chaos.client.sign_up()


@pytest_asyncio.fixture(scope="module")
async def product_id(chaos: Chaos) -> str:
    return await chaos.client.add_product(units=100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Buyer:
    """A customer who tries again with the same key while the shop says that something is down."""

    chaos: Chaos
    customer: Customer
    product_id: str

    async def buy(self) -> str:
        """What becomes of an order that is paid at once."""
        client, key = self.chaos.client, new_id()
        body = order_of(self.product_id, quantity=1)
        placed = await until(lambda: client.place(self.customer, body, key=key), lambda answer: answer.is_success)
        await client.pay(await client.until_payable(self.customer, placed.json()["id"]))
        read = await until(lambda: self._read(placed.json()["id"]), _is_decided)
        return str(read.json()["status"])

    async def _read(self, order_id: str) -> httpx.Response:
        return await self.chaos.client.gateway.get(f"/v1/orders/{order_id}", headers=self.customer.token)


def _is_decided(answer: httpx.Response) -> bool:
    return answer.is_success and answer.json()["status"] != "PENDING"


@pytest.fixture(scope="module")
def buyer(chaos: Chaos, customer: Customer, product_id: str) -> Buyer:
    return Buyer(chaos=chaos, customer=customer, product_id=product_id)


async def test_each_component_has_a_process_and_orders_get_paid(chaos: Chaos, buyer: Buyer) -> None:
    pids = [await chaos.pid(name) for name in (*PARTS, *DOUBLES, *SERVERS)]

    assert len(set(pids)) == len(pids)
    assert await buyer.buy() == "PAID"


@pytest.mark.parametrize("component", [*PARTS, *DOUBLES])
async def test_a_killed_component_comes_back_and_orders_get_paid(chaos: Chaos, buyer: Buyer, component: str) -> None:
    killed = await chaos.kill(component)
    await chaos.until_back(component, killed=killed)

    assert await buyer.buy() == "PAID"


@pytest.mark.parametrize("server", SERVERS)
async def test_a_server_that_was_down_comes_back_and_orders_get_paid(chaos: Chaos, buyer: Buyer, server: str) -> None:
    async with chaos.down(server):
        pass

    assert await buyer.buy() == "PAID"
    await chaos.orders_agree()
