"""What is told of an order's stock, and who adjusted what."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from domain.ids import new_id
from domain.orders import OrderLine
from ordersaga.inventory.v1 import inventory_pb2 as pb
from ordersaga.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from runtime.caller import Caller, CallerRole
from runtime.database import Database
from runtime.on_call import OrderRecord
from services.inventory.bootstrap import InventoryComponents
from services.inventory.service import InventoryService
from tests.support.rows import fetch_rows
from tests.support.rpc import call


async def stocked(inventory: InventoryService, units: int) -> str:
    product_id = new_id()
    await inventory.adjust(adjustment_id=new_id(), product_id=product_id, delta=units, note="delivery")
    return product_id


def section(record: OrderRecord, title: str) -> list[Mapping[str, object]]:
    """The rows of the record's table of that title, each by its columns."""
    [found] = [each for each in record.sections if each.title == title]
    return [dict(zip(found.columns, row, strict=True)) for row in found.rows]


async def describe(components: InventoryComponents, order_id: str) -> OrderRecord:
    record = await components.on_call.describe_order(order_id)
    assert record is not None
    return record


async def test_an_order_is_described_with_reservation_lines_movements_and_events(
    components: InventoryComponents, inventory: InventoryService
) -> None:
    first, second = sorted([await stocked(inventory, 5), await stocked(inventory, 5)])
    order_id, refund_id = new_id(), new_id()
    await inventory.reserve(order_id, [OrderLine(first, 2), OrderLine(second, 1)])
    await inventory.commit(order_id)
    await inventory.restock(refund_id, order_id, [OrderLine(first, 1)])

    record = await describe(components, order_id)

    [reservation] = section(record, "reservation")
    assert reservation["status"] == "COMMITTED"
    assert section(record, "reserved lines") == [
        {"product": first, "quantity": 2},
        {"product": second, "quantity": 1},
    ]
    moved = section(record, "stock movements")
    assert [(row["product"], row["kind"], row["on_hand"], row["reserved"], row["refund"]) for row in moved] == [
        (first, "reserved", "+0", "+2", None),
        (second, "reserved", "+0", "+1", None),
        (first, "committed", "-2", "-2", None),
        (second, "committed", "-1", "-1", None),
        (first, "restocked", "+1", "+0", refund_id),
    ]
    assert {row["event"] for row in section(record, "events")} == {
        f"stock:{row['product']}:{row['movement']}" for row in moved
    }
    assert [(entry.type, entry.text) for entry in record.timeline] == [
        ("stock.reserved", f"reserved: 2 of {first}, 1 of {second}"),
        ("stock.committed", f"sold: 2 of {first}, 1 of {second}"),
        ("stock.restocked", f"put back into stock: 1 of {first}"),
    ]


async def test_a_released_order_is_described(components: InventoryComponents, inventory: InventoryService) -> None:
    product_id, order_id = await stocked(inventory, 5), new_id()
    await inventory.reserve(order_id, [OrderLine(product_id, 2)])
    await inventory.release(order_id)

    record = await describe(components, order_id)

    assert [row["status"] for row in section(record, "reservation")] == ["RELEASED"]
    assert [entry.text for entry in record.timeline] == [f"reserved: 2 of {product_id}", f"released: 2 of {product_id}"]


async def test_an_order_without_a_reservation_is_not_described_and_nothing_ever_waits(
    components: InventoryComponents,
) -> None:
    assert await components.on_call.describe_order(new_id()) is None
    assert await components.on_call.find_concerns(older_than=timedelta(0), most=10) == []


async def test_who_adjusted_stock_and_why_is_kept(stub: InventoryServiceStub, database: Database) -> None:
    admin, product_id = Caller(CallerRole.ADMIN, new_id()), new_id()
    request = pb.AdjustStockRequest(adjustment_id=new_id(), product_id=product_id, delta=5, note="delivery")

    await call(stub.AdjustStock, request, caller=admin)
    again = Caller(CallerRole.ADMIN, new_id())
    await call(stub.AdjustStock, request, caller=again)  # once per id: it stays the first one's

    movements = await fetch_rows(database, "SELECT actor, note FROM movements WHERE product_id = %(id)s", id=product_id)
    assert movements == [(f"admin:{admin.id}", "delivery")]
