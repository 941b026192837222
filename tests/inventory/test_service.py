"""The inventory service's use cases on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import json

import pytest
from google.protobuf.json_format import MessageToJson, Parse

from domain.ids import new_id
from domain.orders import OrderLine
from domain.refusals import Refusal
from domain.stock import MAX_ON_HAND, MovementKind
from ordersaga.common.v1.order_line_pb2 import OrderLine as OrderLineMessage
from ordersaga.events.v1.stock_events_pb2 import StockChanged
from ordersaga.inventory.v1 import inventory_pb2 as pb
from ordersaga.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from runtime.caller import SERVICE
from runtime.database import Database
from runtime.refusal import CallRefused, InvalidArgument
from runtime.tracing import event_traceparent
from services.inventory.errors import (
    AdjustmentDiffers,
    OutOfStock,
    ReservationCommitted,
    ReservationDiffers,
    ReservationNotFound,
    ReservationReleased,
    RestockDiffers,
    RestockExceedsSale,
)
from services.inventory.messages import to_event
from services.inventory.model import StockChange, StockLevel
from services.inventory.service import InventoryService
from tests.support.rows import fetch_rows
from tests.support.rpc import call


async def stocked(inventory: InventoryService, units: int) -> str:
    product_id = new_id()
    await inventory.adjust(adjustment_id=new_id(), product_id=product_id, delta=units, note="delivery")
    return product_id


async def sold(inventory: InventoryService, *lines: OrderLine) -> str:
    """An order that bought these."""
    order_id = new_id()
    await inventory.reserve(order_id, lines)
    await inventory.commit(order_id)
    return order_id


async def ledger(database: Database, product_id: str) -> list[tuple[int, str, int, int]]:
    return await fetch_rows(
        database,
        "SELECT seq, kind, on_hand_change, reserved_change FROM movements WHERE product_id = %(id)s ORDER BY seq",
        id=product_id,
    )


async def test_a_product_without_a_row_has_no_stock(inventory: InventoryService) -> None:
    level = await inventory.get_stock(new_id())

    assert (level.on_hand, level.reserved, level.available) == (0, 0, 0)


async def test_reserve_and_commit_take_units_out_of_stock_with_a_ledger_row_each(
    inventory: InventoryService, database: Database
) -> None:
    product_id = await stocked(inventory, 5)
    order_id = new_id()

    await inventory.reserve(order_id, [OrderLine(product_id, 2)])
    reserved = await inventory.get_stock(product_id)
    await inventory.commit(order_id)
    committed = await inventory.get_stock(product_id)

    assert (reserved.on_hand, reserved.reserved, reserved.available) == (5, 2, 3)
    assert (committed.on_hand, committed.reserved, committed.available) == (3, 0, 3)
    assert await ledger(database, product_id) == [
        (1, "adjusted", 5, 0),
        (2, "reserved", 0, 2),
        (3, "committed", -2, -2),
    ]


async def test_a_line_out_of_stock_reserves_no_line_at_all(inventory: InventoryService) -> None:
    plenty, scarce = await stocked(inventory, 10), await stocked(inventory, 1)

    with pytest.raises(OutOfStock) as refused:
        await inventory.reserve(new_id(), [OrderLine(plenty, 3), OrderLine(scarce, 2)])

    assert refused.value.details == {"product_id": scarce, "requested": "2", "available": "1"}
    assert (await inventory.get_stock(plenty)).reserved == 0


async def test_repeats_of_every_step_change_nothing(inventory: InventoryService, database: Database) -> None:
    product_id = await stocked(inventory, 5)
    order_id = new_id()

    for _ in range(2):
        await inventory.reserve(order_id, [OrderLine(product_id, 2)])
    for _ in range(2):
        await inventory.commit(order_id)
    await inventory.reserve(order_id, [OrderLine(product_id, 2)])

    assert (await inventory.get_stock(product_id)).on_hand == 3
    assert len(await ledger(database, product_id)) == 3


async def test_release_returns_the_units_once(inventory: InventoryService) -> None:
    product_id = await stocked(inventory, 5)
    order_id = new_id()
    await inventory.reserve(order_id, [OrderLine(product_id, 2)])

    for _ in range(2):
        await inventory.release(order_id)

    assert (await inventory.get_stock(product_id)).available == 5


async def test_a_release_that_comes_first_refuses_the_late_reserve(inventory: InventoryService) -> None:
    product_id = await stocked(inventory, 5)
    order_id = new_id()
    await inventory.release(order_id)

    with pytest.raises(ReservationReleased):
        await inventory.reserve(order_id, [OrderLine(product_id, 2)])

    assert (await inventory.get_stock(product_id)).available == 5


async def test_sold_units_cannot_be_released(inventory: InventoryService) -> None:
    product_id = await stocked(inventory, 5)
    order_id = new_id()
    await inventory.reserve(order_id, [OrderLine(product_id, 2)])
    await inventory.commit(order_id)

    with pytest.raises(ReservationCommitted):
        await inventory.release(order_id)


async def test_commit_wants_an_active_reservation(inventory: InventoryService) -> None:
    order_id = new_id()

    with pytest.raises(ReservationNotFound):
        await inventory.commit(order_id)
    await inventory.release(order_id)
    with pytest.raises(ReservationReleased):
        await inventory.commit(order_id)


async def test_an_order_cannot_reserve_other_lines_than_at_first(inventory: InventoryService) -> None:
    product_id = await stocked(inventory, 5)
    order_id = new_id()
    await inventory.reserve(order_id, [OrderLine(product_id, 2)])

    with pytest.raises(ReservationDiffers):
        await inventory.reserve(order_id, [OrderLine(product_id, 3)])


async def test_an_adjustment_counts_once_and_never_undercuts_reservations(inventory: InventoryService) -> None:
    product_id = await stocked(inventory, 5)
    await inventory.reserve(new_id(), [OrderLine(product_id, 4)])
    adjustment_id = new_id()

    for _ in range(2):
        await inventory.adjust(adjustment_id=adjustment_id, product_id=product_id, delta=-1, note="broken")

    assert (await inventory.get_stock(product_id)).on_hand == 4
    with pytest.raises(AdjustmentDiffers):
        await inventory.adjust(adjustment_id=adjustment_id, product_id=product_id, delta=-2, note="broken")
    with pytest.raises(OutOfStock):
        await inventory.adjust(adjustment_id=new_id(), product_id=product_id, delta=-1, note="broken")


async def test_refunds_put_sold_units_back_in_parts_once_each(inventory: InventoryService, database: Database) -> None:
    product_id = await stocked(inventory, 5)
    order_id = await sold(inventory, OrderLine(product_id, 3))

    for restock_id, quantity in ((new_id(), 2), (new_id(), 1)):
        for _ in range(2):
            await inventory.restock(restock_id, order_id, [OrderLine(product_id, quantity)])

    level = await inventory.get_stock(product_id)
    assert (level.on_hand, level.reserved) == (5, 0)
    assert (await ledger(database, product_id))[3:] == [(4, "restocked", 2, 0), (5, "restocked", 1, 0)]


async def test_what_was_put_back_can_be_sold_and_put_back_again(inventory: InventoryService) -> None:
    product_id = await stocked(inventory, 1)

    for _ in range(3):
        order_id = await sold(inventory, OrderLine(product_id, 1))
        await inventory.restock(new_id(), order_id, [OrderLine(product_id, 1)])

    assert (await inventory.get_stock(product_id)).available == 1


async def test_no_more_comes_back_than_was_sold(inventory: InventoryService) -> None:
    one, other, not_bought = [await stocked(inventory, 5) for _ in range(3)]
    order_id = await sold(inventory, OrderLine(one, 3), OrderLine(other, 1))
    await inventory.restock(new_id(), order_id, [OrderLine(one, 2)])

    for product_id, asked, left in ((one, 2, 1), (not_bought, 1, 0)):
        with pytest.raises(RestockExceedsSale) as refused:
            await inventory.restock(new_id(), order_id, [OrderLine(other, 1), OrderLine(product_id, asked)])
        assert refused.value.details == {"product_id": product_id, "asked": str(asked), "left": str(left)}

    assert [(await inventory.get_stock(product)).on_hand for product in (one, other, not_bought)] == [4, 4, 5]


async def test_only_what_was_sold_comes_back(inventory: InventoryService) -> None:
    product_id = await stocked(inventory, 5)
    lines = [OrderLine(product_id, 1)]
    unknown, reserved, released = new_id(), new_id(), new_id()
    await inventory.reserve(reserved, lines)
    await inventory.reserve(released, lines)
    await inventory.release(released)

    for order_id in (unknown, reserved, released):
        with pytest.raises(ReservationNotFound):
            await inventory.restock(new_id(), order_id, lines)

    level = await inventory.get_stock(product_id)
    assert (level.on_hand, level.reserved) == (5, 1)


async def test_a_refund_cannot_put_back_other_units_than_at_first(inventory: InventoryService) -> None:
    one, other = await stocked(inventory, 5), await stocked(inventory, 5)
    order_id = await sold(inventory, OrderLine(one, 2), OrderLine(other, 2))
    other_order_id = await sold(inventory, OrderLine(one, 1))
    restock_id = new_id()
    await inventory.restock(restock_id, order_id, [OrderLine(one, 1)])

    for order, lines in (
        (order_id, [OrderLine(one, 2)]),
        (order_id, [OrderLine(one, 1), OrderLine(other, 1)]),
        (order_id, [OrderLine(other, 1)]),
        (other_order_id, [OrderLine(one, 1)]),
        (new_id(), [OrderLine(one, 1)]),
    ):
        with pytest.raises(RestockDiffers):
            await inventory.restock(restock_id, order, lines)

    assert [(await inventory.get_stock(product)).on_hand for product in (one, other)] == [3, 3]


async def test_a_restock_names_every_field_that_is_wrong(stub: InventoryServiceStub) -> None:
    line = OrderLineMessage(product_id=new_id(), quantity=0)
    requests = {
        ("lines",): pb.RestockRequest(restock_id=new_id(), order_id=new_id()),
        ("restock_id", "order_id", "lines[0].quantity", "lines[1].quantity", "lines"): pb.RestockRequest(
            restock_id="1", order_id="", lines=[line, line]
        ),
    }
    for fields, request in requests.items():
        with pytest.raises(CallRefused) as refused:
            await call(stub.Restock, request, caller=SERVICE, deadline=10)
        assert refused.value.refusal is Refusal.INVALID_ARGUMENT
        assert set(refused.value.details) == set(fields)


async def test_stock_that_is_full_takes_nothing_back(inventory: InventoryService) -> None:
    full, free = await stocked(inventory, MAX_ON_HAND), await stocked(inventory, 1)
    order_id = await sold(inventory, OrderLine(full, 2), OrderLine(free, 1))
    await inventory.adjust(adjustment_id=new_id(), product_id=full, delta=1, note="delivery")

    with pytest.raises(InvalidArgument) as refused:
        await inventory.restock(new_id(), order_id, [OrderLine(free, 1), OrderLine(full, 2)])
    await inventory.restock(new_id(), order_id, [OrderLine(full, 1)])

    assert list(refused.value.details) == ["lines[1].quantity"]
    assert [(await inventory.get_stock(product)).on_hand for product in (full, free)] == [MAX_ON_HAND, 0]


async def test_parallel_buyers_never_oversell_nor_deadlock(inventory: InventoryService, database: Database) -> None:
    first, second = await stocked(inventory, 10), await stocked(inventory, 10)
    lines = [OrderLine(first, 1), OrderLine(second, 1)]

    outcomes = await asyncio.gather(
        *(inventory.reserve(new_id(), lines if number % 2 else lines[::-1]) for number in range(30)),
        return_exceptions=True,
    )

    assert outcomes.count(None) == 10
    assert all(isinstance(outcome, OutOfStock) for outcome in outcomes if outcome is not None)
    assert [(await inventory.get_stock(product)).available for product in (first, second)] == [0, 0]
    assert [row[0] for row in await ledger(database, first)] == list(range(1, 12))


async def test_reserve_and_release_at_once_leave_nothing_reserved(inventory: InventoryService) -> None:
    product_id = await stocked(inventory, 100)
    orders = [new_id() for _ in range(20)]

    outcomes = await asyncio.gather(
        *(inventory.reserve(order_id, [OrderLine(product_id, 1)]) for order_id in orders),
        *(inventory.release(order_id) for order_id in orders),
        return_exceptions=True,
    )

    assert all(outcome is None or isinstance(outcome, ReservationReleased) for outcome in outcomes)
    assert (await inventory.get_stock(product_id)).available == 100


async def test_each_change_of_stock_leaves_its_event_in_the_outbox(
    inventory: InventoryService, database: Database
) -> None:
    product_id = await stocked(inventory, 5)
    order_id = new_id()
    await inventory.reserve(order_id, [OrderLine(product_id, 2)])
    await inventory.release(order_id)

    events = await fetch_rows(
        database, "SELECT ce_id, ce_type FROM outbox WHERE key = %(id)s ORDER BY id", id=product_id
    )
    assert events == [
        (f"stock:{product_id}:1", "stock.adjusted"),
        (f"stock:{product_id}:2", "stock.reserved"),
        (f"stock:{product_id}:3", "stock.released"),
    ]


async def test_a_step_of_an_order_leaves_the_event_that_is_made_of_its_change(
    inventory: InventoryService, database: Database
) -> None:
    product_id, order_id = await stocked(inventory, 5), new_id()
    await inventory.reserve(order_id, [OrderLine(product_id, 2)])
    await inventory.commit(order_id)

    rows = await fetch_rows(
        database,
        """
        SELECT topic, key, ce_id, ce_type, ce_seq, outbox.data, traceparent, outbox.at, movements.at AS moved_at
          FROM outbox JOIN movements ON ce_id = 'stock:' || product_id || ':' || seq
         WHERE order_id = %(order_id)s ORDER BY id
        """,
        order_id=order_id,
    )

    changes = [
        (MovementKind.RESERVED, 0, 2, StockLevel(product_id=product_id, on_hand=5, reserved=2, seq=2)),
        (MovementKind.COMMITTED, -2, -2, StockLevel(product_id=product_id, on_hand=3, reserved=0, seq=3)),
    ]
    assert len(rows) == len(changes)
    for (kind, on_hand, reserved, level), (*head, data, traceparent, at, moved_at) in zip(changes, rows, strict=True):
        change = StockChange(
            product_id=product_id, kind=kind, on_hand_change=on_hand, reserved_change=reserved, order_id=order_id
        )
        event = to_event(change, level, at=moved_at)
        assert head == [event.topic, event.key, event.id, event.type, event.seq]
        assert json.loads(data) == json.loads(MessageToJson(event.data, always_print_fields_with_no_presence=True))
        assert traceparent == event_traceparent(cause_id=order_id, event_id=event.id)
        assert at == moved_at


async def test_the_event_of_a_restock_says_how_many_units_came_back(
    inventory: InventoryService, database: Database
) -> None:
    product_id = await stocked(inventory, 5)
    order_id = await sold(inventory, OrderLine(product_id, 3))
    await inventory.restock(new_id(), order_id, [OrderLine(product_id, 2)])

    [(ce_type, data)] = await fetch_rows(
        database, "SELECT ce_type, data FROM outbox WHERE ce_id = %(id)s", id=f"stock:{product_id}:4"
    )
    event = Parse(data, StockChanged())
    assert ce_type == "stock.restocked"
    assert (event.order_id, event.quantity, event.on_hand, event.reserved) == (order_id, 2, 4, 0)
