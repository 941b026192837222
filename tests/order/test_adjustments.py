"""Shipping and discounts of an order: kept as the shop named them, and part of whatever is said of its total."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import LiteralString

import pytest
import pytest_asyncio

from cli.audit.invariants import totals_add_up
from cli.audit.read_databases import read_orders
from domain.ids import new_id
from domain.orders import AdjustmentType, OrderStatus, PriceAdjustment, PricedLine
from domain.refusals import Refusal
from domain.saga import OrderInput
from ordersaga.common.v1.order_line_pb2 import OrderLine
from ordersaga.order.v1 import order_pb2 as pb
from ordersaga.order.v1.order_pb2_grpc import OrderServiceStub
from runtime.caller import Caller, CallerRole
from runtime.idempotency import IdempotencyKeyReused
from runtime.refusal import CallRefused, InvalidArgument
from runtime.settings import Settings
from services.order.bootstrap import saga_policy
from services.order.model import AcceptedOrder, Mark, NewOrder, Pricing
from services.order.repository import OrderRepository
from services.order.server import grpc_service
from services.order.service import Created
from tests.support.audit_facts import facts
from tests.support.order_shop import DEADLINE, OrderShop, new_order
from tests.support.rpc import call, channel_to

PARCEL = PriceAdjustment(AdjustmentType.SHIPPING, "Parcel", 490)
WELCOME = PriceAdjustment(AdjustmentType.DISCOUNT, "Welcome, 10 %", 250)
CHANGE = 240
ADMIN = Caller(CallerRole.ADMIN, new_id())


def on_behalf(**changes: object) -> NewOrder:
    return new_order(adjustments=[PARCEL, WELCOME], on_behalf=True, **changes)


async def create(shop: OrderShop, new: NewOrder, key: str) -> Created:
    return await shop.orders.create(new, idempotency_key=key, wait=0)


async def test_they_are_kept_in_their_order_and_published_with_their_types(shop: OrderShop) -> None:
    order_id = await shop.pending(on_behalf())

    order = await shop.order(order_id)

    assert order.adjustments == [PARCEL, WELCOME]
    assert order.total == 1_000 + CHANGE
    for _, _, data in await shop.events(order_id, after=0):
        assert [(each.type, each.name, each.amount) for each in data.adjustments] == [
            ("shipping", "Parcel", 490),
            ("discount", "Welcome, 10 %", 250),
        ]


async def test_a_saga_starts_with_what_they_come_to_whenever_it_starts(shop: OrderShop) -> None:
    started: list[OrderInput] = []

    async def note(order: OrderInput) -> None:
        started.append(order)

    shop.sagas.on_start = note
    order_id = await shop.received(on_behalf())
    await shop.orders.restart(order_id)

    assert [order.adjustment for order in started] == [CHANGE, CHANGE]


async def test_a_total_without_them_makes_no_order_pending(shop: OrderShop) -> None:
    new = on_behalf()
    order_id = await shop.received(new)
    [line] = new.lines
    right = Pricing(
        lines=[PricedLine(line.product_id, line.quantity, 500)],
        total=1_000 + CHANGE,
        payment_id=new_id(),
        payment_deadline=DEADLINE,
    )
    mark = Mark(order_id=order_id, cause_id="pending", to_status=OrderStatus.PENDING)

    with pytest.raises(InvalidArgument) as caught:
        await shop.orders.mark(mark, replace(right, total=1_000))

    assert caught.value.details == {"total": "is 1000; lines and adjustments come to 1240"}
    assert (await shop.order(order_id)).status is OrderStatus.RECEIVED
    assert (await shop.orders.mark(mark, right)).total == 1_240


@pytest.mark.parametrize("adjustments", [[PARCEL], [WELCOME, PARCEL], []])
async def test_another_adjustment_makes_another_request(shop: OrderShop, adjustments: list[PriceAdjustment]) -> None:
    new, key = on_behalf(), new_id()
    first = await create(shop, new, key)

    assert (await create(shop, new, key)).order.id == first.order.id
    with pytest.raises(IdempotencyKeyReused):
        await create(shop, new.model_copy(update={"adjustments": adjustments}), key)


async def test_a_key_of_the_back_end_and_the_customers_own_are_two(shop: OrderShop) -> None:
    new, key = new_order(), new_id()

    own = await create(shop, new, key)
    placed = await create(shop, new.model_copy(update={"on_behalf": True}), key)

    assert own.order.id != placed.order.id
    assert not placed.replayed


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE order_adjustments SET amount = amount + 1 WHERE order_id = %(order)s AND position = 0",
        "DELETE FROM order_adjustments WHERE order_id = %(order)s AND type = 'discount'",
        "UPDATE order_items SET unit_price = unit_price - 1 WHERE order_id = %(order)s",
        "UPDATE orders SET total = total - 1 WHERE id = %(order)s",
    ],
)
async def test_the_audit_finds_what_somebody_did_to_them(shop: OrderShop, statement: LiteralString) -> None:
    order_id = await shop.pending(on_behalf())

    async def breaches() -> list[str]:
        orders, _ = await read_orders(shop.database.dsn)
        return [breach.what for breach in totals_add_up(facts(orders={order_id: orders[order_id]}))]

    assert await breaches() == []
    async with shop.database.autocommit() as connection:
        assert await connection.execute(statement, order=order_id) == 1
    [what] = await breaches()
    assert what.startswith("its total is ")


async def test_an_order_on_call_shows_them(shop: OrderShop) -> None:
    order_id = await shop.pending(on_behalf())

    record = await shop.components.on_call.describe_order(order_id)

    assert record is not None
    [section] = [section for section in record.sections if section.title == "adjustments"]
    assert list(section.rows) == [("shipping", "Parcel", "4.90 EUR"), ("discount", "Welcome, 10 %", "-2.50 EUR")]


@pytest_asyncio.fixture
async def orders(shop: OrderShop) -> AsyncIterator[OrderServiceStub]:
    async with channel_to(grpc_service(shop.components)) as channel:
        yield OrderServiceStub(channel)


def request(*adjustments: pb.PriceAdjustment, user_id: str = "") -> pb.CreateOrderOnBehalfRequest:
    order = pb.CreateOrderRequest(
        idempotency_key=new_id(),
        lines=[OrderLine(product_id=new_id(), quantity=1)],
        currency="EUR",
        shipping_address=pb.Address(name="Ada", line1="1 Street", city="Town", postal_code="12345", country="DE"),
    )
    return pb.CreateOrderOnBehalfRequest(order=order, adjustments=adjustments, user_id=user_id or new_id())


def adjustment(**changes: object) -> pb.PriceAdjustment:
    values = {"type": pb.ADJUSTMENT_TYPE_SHIPPING, "name": "Parcel", "amount": 490, **changes}
    return pb.PriceAdjustment(**values)  # type: ignore[arg-type]  # some are wrong on purpose


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (request(adjustment(type=pb.ADJUSTMENT_TYPE_UNSPECIFIED)), "adjustments[0].type"),
        (request(adjustment(), adjustment(type=9)), "adjustments[1].type"),
        (request(adjustment(name="")), "adjustments[0].name"),
        (request(adjustment(name="Par\ncel")), "adjustments[0].name"),
        (request(adjustment(name="P" * 101)), "adjustments[0].name"),
        (request(adjustment(amount=0)), "adjustments[0].amount"),
        (request(adjustment(amount=-490)), "adjustments[0].amount"),
        (request(adjustment(amount=10**15 + 1)), "adjustments[0].amount"),
        (request(*[adjustment()] * 21), "adjustments"),
        (request(user_id="ada"), "customer"),
        (pb.CreateOrderOnBehalfRequest(order=request().order), "customer"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_is_wrong_is_named(orders: OrderServiceStub, bad: pb.CreateOrderOnBehalfRequest, field: str) -> None:
    with pytest.raises(CallRefused) as caught:
        await call(orders.CreateOrderOnBehalf, bad, caller=ADMIN)

    assert caught.value.refusal is Refusal.INVALID_ARGUMENT
    assert list(caught.value.details) == [field]


@pytest.mark.parametrize("role", [CallerRole.CUSTOMER, CallerRole.SUPPORT, CallerRole.GUEST])
async def test_nobody_else_places_such_orders_whoever_asks_the_service(
    orders: OrderServiceStub, role: CallerRole
) -> None:
    customer = Caller(role, new_id(), order_id=new_id() if role is CallerRole.GUEST else "")

    with pytest.raises(CallRefused) as caught:
        await call(orders.CreateOrderOnBehalf, request(adjustment(), user_id=customer.id), caller=customer)

    assert caught.value.refusal is Refusal.PERMISSION_DENIED


async def test_an_order_that_waited_for_its_saga_has_them_still(shop: OrderShop) -> None:
    order_id = await shop.received(on_behalf())
    async with shop.database.autocommit() as connection:
        accepted: AcceptedOrder | None = await OrderRepository(connection).find_accepted(order_id)

    assert accepted is not None
    assert accepted.adjustments == [PARCEL, WELCOME]
    policy = saga_policy(Settings())
    assert accepted.saga_input(order_id, policy, waited=timedelta(seconds=9)).adjustment == CHANGE
