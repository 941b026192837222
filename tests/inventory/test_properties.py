"""Whatever is asked of the inventory service, in whatever order and at once: it answers as one thing after another.

Plans come from Hypothesis. A plan is a list of bundles; the calls of a bundle run in parallel, each on a connection
of its own, and the next bundle follows when all have their answers. `pytest --hypothesis-profile=search` makes other
plans at each run, and more of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from domain.ids import new_id
from domain.orders import OrderLine
from domain.stock import ReservationStatus
from runtime.refusal import Refused
from services.inventory.bootstrap import InventoryComponents
from tests.support.inventory_model import (
    Adjust,
    Answer,
    Call,
    Commit,
    Lines,
    Release,
    Reserve,
    Restock,
    State,
    states_after,
)
from tests.support.rows import fetch_rows
from tests.support.stock_ledger import check_stock_ledger

PRODUCTS, ORDERS, ADJUSTMENTS, REFUNDS = 3, 4, 6, 4
SOLD = 2
MOST_AT_ONCE = 5

products = st.integers(0, PRODUCTS - 1)
orders = st.integers(0, ORDERS - 1)


def lines_of(smallest: int, largest: int, *, fewest: int = 1) -> st.SearchStrategy[Lines]:
    """Lines of some of the products, with a quantity of each."""
    wanted = st.dictionaries(products, st.integers(smallest, largest), min_size=fewest)
    return wanted.map(lambda found: tuple(sorted(found.items())))


lines = lines_of(1, 3)
calls = st.one_of(
    st.builds(Reserve, orders, lines),
    st.builds(Commit, orders),
    st.builds(Release, orders),
    st.builds(Restock, st.integers(0, REFUNDS - 1), orders, lines),
    st.builds(Adjust, st.integers(0, ADJUSTMENTS - 1), products, st.integers(-3, 4).filter(bool)),
)
deliveries = st.lists(st.integers(0, 6), min_size=PRODUCTS, max_size=PRODUCTS)
sales = st.lists(lines_of(2, 5, fewest=2), min_size=1, max_size=SOLD)
"""What each of the first orders bought before the rest begins."""
restocks = st.builds(Restock, st.integers(0, REFUNDS - 1), st.integers(0, SOLD - 1), lines_of(1, 2))
restock_bundles = st.lists(
    st.lists(st.one_of(restocks, restocks, calls), min_size=2, max_size=MOST_AT_ONCE), min_size=1, max_size=4
)
bundles = st.lists(st.lists(calls, min_size=1, max_size=MOST_AT_ONCE), min_size=1, max_size=8)


class Shop:
    """The service with ids of its own for the plan's numbers."""

    def __init__(self, components: InventoryComponents) -> None:
        self.database = components.database
        self.inventory = components.inventory
        self.products = [new_id() for _ in range(PRODUCTS)]
        self.orders = [new_id() for _ in range(ORDERS)]
        self.adjustments = [new_id() for _ in range(ADJUSTMENTS)]
        self.refunds = [new_id() for _ in range(REFUNDS)]

    async def stock(self, units: Sequence[int]) -> State:
        """Put so many units of each product into stock."""
        for product_id, delta in zip(self.products, units, strict=True):
            if delta:
                await self.inventory.adjust(adjustment_id=new_id(), product_id=product_id, delta=delta, note="")
        return State(levels={product: (delta, 0) for product, delta in enumerate(units) if delta})

    async def ask(self, call: Call) -> Answer:
        try:
            match call:
                case Adjust(number, product, delta):
                    level = await self.inventory.adjust(
                        adjustment_id=self.adjustments[number], product_id=self.products[product], delta=delta, note=""
                    )
                    return level.on_hand, level.reserved
                case Reserve(order, wanted):
                    await self.inventory.reserve(self.orders[order], self._lines(wanted))
                case Release(order):
                    await self.inventory.release(self.orders[order])
                case Commit(order):
                    await self.inventory.commit(self.orders[order])
                case Restock(refund, order, wanted):
                    await self.inventory.restock(self.refunds[refund], self.orders[order], self._lines(wanted))
        except Refused as refused:
            return type(refused)
        return None

    async def is_in(self, state: State) -> bool:
        """Whether stock, reservations and restocks are as the model has them."""
        for product, product_id in enumerate(self.products):
            level = await self.inventory.get_stock(product_id)
            if (level.on_hand, level.reserved) != state.level(product):
                return False
        return await self._reservations() == state.reservations and await self._restocks() == state.restocks

    def _lines(self, wanted: Lines) -> list[OrderLine]:
        return [OrderLine(self.products[product], quantity) for product, quantity in wanted]

    async def _reservations(self) -> dict[int, tuple[ReservationStatus, Lines]]:
        rows = await fetch_rows(
            self.database,
            """SELECT order_id, status, product_id, quantity
                 FROM reservations LEFT JOIN reservation_lines USING (order_id)
                WHERE order_id = ANY(%(orders)s::uuid[])""",
            orders=self.orders,
        )
        found: dict[int, tuple[ReservationStatus, Lines]] = {}
        for order_id, status, product_id, quantity in rows:
            order = self.orders.index(order_id)
            of_others = found[order][1] if order in found else ()
            line = ((self.products.index(product_id), quantity),) if product_id is not None else ()
            found[order] = ReservationStatus(status), tuple(sorted((*of_others, *line)))
        return found

    async def _restocks(self) -> dict[int, tuple[int, Lines]]:
        rows = await fetch_rows(
            self.database,
            """SELECT restock_id, order_id, product_id, on_hand_change
                 FROM movements WHERE restock_id = ANY(%(refunds)s::uuid[])""",
            refunds=self.refunds,
        )
        found: dict[int, tuple[int, Lines]] = {}
        for restock_id, order_id, product_id, quantity in rows:
            refund, order = self.refunds.index(restock_id), self.orders.index(order_id)
            of_others = found[refund][1] if refund in found else ()
            found[refund] = order, tuple(sorted((*of_others, (self.products.index(product_id), quantity))))
        return found


@given(units=deliveries, plan=bundles)
async def test_parallel_calls_are_answered_as_if_one_came_after_the_other(
    components: InventoryComponents, units: list[int], plan: list[list[Call]]
) -> None:
    await follow(components, units, plan)


@given(sold=sales, plan=restock_bundles)
async def test_parallel_refunds_of_sold_orders_are_answered_as_if_one_came_after_the_other(
    components: InventoryComponents, sold: list[Lines], plan: list[list[Call]]
) -> None:
    units = [sum(dict(of).get(product, 0) for of in sold) for product in range(PRODUCTS)]
    buying: list[list[Call]] = [[call] for order, of in enumerate(sold) for call in (Reserve(order, of), Commit(order))]

    await follow(components, units, [*buying, *plan])


async def follow(components: InventoryComponents, units: Sequence[int], plan: Sequence[Sequence[Call]]) -> None:
    """Ask bundle by bundle; after each, answers and tables must be such as the model can have."""
    shop = Shop(components)
    states = [await shop.stock(units)]
    for bundle in plan:
        answers = await asyncio.gather(*(shop.ask(call) for call in bundle))

        possible = [end for state in states for end in states_after(state, list(zip(bundle, answers, strict=True)))]
        assert possible, f"no order of {bundle} explains {answers}"
        states = [state for state in possible if await shop.is_in(state)]
        assert states, f"{bundle} left what no order of them leaves"
        await check_stock_ledger(components.database, shop.products)
