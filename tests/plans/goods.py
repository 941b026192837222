"""Every statement of the inventory and the product database."""

from __future__ import annotations

from bench.filling.fill import Filled
from bench.filling.story import Ending
from domain.events import PRODUCT_EVENTS, STOCK_EVENTS
from domain.ids import new_id
from domain.orders import OrderLine
from domain.stock import MovementKind
from runtime.database import Connection
from services.inventory.model import StockChange
from services.inventory.on_call import InventoryOnCall
from services.inventory.repository import InventoryRepository
from services.product.repository import ProductRepository
from tests.plans.driving import NOW, PAGE, an_event, run, run_common, run_keys
from tests.plans.recording import RecordedDatabase


async def drive_stock(database: RecordedDatabase, filled: Filled) -> None:
    """Run those of the inventory."""
    sold = next(order for order in filled.last if order.ending is Ending.PAID)
    refunded = next(order for order in filled.last if order.ending is Ending.REFUNDED and order.refund)
    opened = next(order for order in filled.last if order.ending is Ending.OPEN)
    product_id, restock_id = sold.lines[0].product.id, refunded.refund.id if refunded.refund else ""
    changes = [
        StockChange(product_id=each, kind=MovementKind.RESERVED, reserved_change=1, order_id=sold.id)
        for each in filled.products[:20]
    ]
    on_call = InventoryOnCall(database)

    async def change(connection: Connection) -> None:
        repository = InventoryRepository(connection)
        levels = await repository.change_stock(changes)
        made = [(one.model_copy(update={"order_id": new_id()}), levels[one.product_id]) for one in changes]
        events = [an_event(STOCK_EVENTS, of=new_id()) for _ in changes]
        await repository.add_movements(made, at=NOW, events=events)

    await run(
        database,
        change,
        lambda connection: InventoryRepository(connection).get_stock(product_id),
        lambda connection: InventoryRepository(connection).lock_stock(product_id),
        lambda connection: InventoryRepository(connection).lock_id(new_id()),
        lambda connection: InventoryRepository(connection).find_adjustment(new_id()),
        lambda connection: InventoryRepository(connection).hold_stock(filled.products[:20]),
        lambda connection: InventoryRepository(connection).reserve(new_id(), [OrderLine(product_id, 1)], at=NOW),
        lambda connection: InventoryRepository(connection).commit(opened.id, at=NOW),
        lambda connection: InventoryRepository(connection).release(opened.id, at=NOW),
        lambda connection: InventoryRepository(connection).release(new_id(), at=NOW),
        lambda connection: InventoryRepository(connection).find_status(sold.id),
        lambda connection: InventoryRepository(connection).find_restock(restock_id),
        lambda connection: InventoryRepository(connection).get_restockable(refunded.id),
        lambda connection: InventoryRepository(connection).get_lines(sold.id),
        lambda _: on_call.describe_order(refunded.id),
    )
    await run_common(database, "inventory")


async def drive_products(database: RecordedDatabase, filled: Filled) -> None:
    """Run those of the catalogue."""
    product_id = filled.products[500]

    async def save(connection: Connection) -> None:
        repository = ProductRepository(connection)
        product = await repository.lock_product(product_id)
        assert product is not None
        await repository.save_product(product, an_event(PRODUCT_EVENTS, of=product_id, seq=2))

    await run(
        database,
        save,
        lambda connection: ProductRepository(connection).find_product(product_id),
        lambda connection: ProductRepository(connection).find_prices(filled.products[:20]),
        lambda connection: ProductRepository(connection).list_active(after=None, limit=PAGE),
        lambda connection: ProductRepository(connection).list_active(after=product_id, limit=PAGE),
    )
    await run_keys(database)
    await run_common(database, "product")
