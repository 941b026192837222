"""A crowd of buyers at once, over gRPC, of fewer units: so many get one, all others are refused."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable

import pytest

from domain.ids import new_id
from domain.refusals import Refusal
from ordersaga.common.v1.order_line_pb2 import OrderLine
from ordersaga.inventory.v1 import inventory_pb2 as pb
from ordersaga.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from runtime.caller import SERVICE, Caller, CallerRole
from runtime.database import Database
from runtime.refusal import CallRefused
from runtime.rpc_client import ServiceUnavailable
from tests.support.rows import fetch_rows
from tests.support.rpc import call
from tests.support.stock_ledger import check_stock_ledger

# As long as it takes: that it is fast enough is measured and not asserted.
DEADLINE = 100.0


async def buy(stub: InventoryServiceStub, order_id: str, product_id: str) -> str:
    """What came of it; whoever is turned away comes again when they were told to."""
    request = pb.ReserveRequest(order_id=order_id, lines=[OrderLine(product_id=product_id, quantity=1)])
    while True:
        try:
            await call(stub.Reserve, request, caller=SERVICE, deadline=DEADLINE)
        except CallRefused as refused:
            return refused.refusal
        except ServiceUnavailable as problem:
            if problem.retry_after is None:  # it may have taken effect
                raise
            await asyncio.sleep(problem.retry_after)
        else:
            return "reserved"


@pytest.mark.parametrize(
    ("buyers", "units"), [(400, 100), pytest.param(2_000, 500, marks=pytest.mark.more)], ids=["many", "most"]
)
@pytest.mark.parametrize("products", [1, 100])
async def test_buyers_at_once_get_each_unit_once_and_the_rest_are_refused(
    stub: InventoryServiceStub,
    database: Database,
    buyers: int,
    units: int,
    products: int,
    record_property: Callable[[str, object], None],
) -> None:
    shelf = [new_id() for _ in range(products)]
    for product_id in shelf:
        delivery = pb.AdjustStockRequest(adjustment_id=new_id(), product_id=product_id, delta=units // products)
        await call(stub.AdjustStock, delivery, caller=Caller(CallerRole.ADMIN, new_id()), deadline=DEADLINE)
    orders = [(new_id(), shelf[number % products]) for number in range(buyers)]

    begun = time.perf_counter()
    answers = Counter(await asyncio.gather(*(buy(stub, *order) for order in orders)))
    seconds = time.perf_counter() - begun

    record_property(
        "figure",
        f"{buyers} buyers at once of {units} units of {products} product(s): {seconds:.1f} s, "
        f"{buyers / seconds:.0f} answers/s",
    )
    assert answers == {"reserved": units, Refusal.OUT_OF_STOCK: buyers - units}
    await check_stock_ledger(database, shelf)
    reserved = await fetch_rows(
        database,
        "SELECT sum(quantity) AS units, count(DISTINCT order_id) AS orders FROM reservation_lines"
        " WHERE product_id = ANY(%(shelf)s::uuid[])",
        shelf=shelf,
    )
    assert reserved == [(units, units)]
