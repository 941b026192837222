"""The product service over gRPC, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence

import pytest

from domain.ids import new_id
from domain.money import MAX_AMOUNT
from domain.orders import MAX_ADJUSTMENT
from domain.refusals import Refusal
from ordersaga.common.v1.order_line_pb2 import OrderLine
from ordersaga.product.v1 import product_pb2 as pb
from ordersaga.product.v1.product_pb2_grpc import ProductServiceStub
from runtime.caller import ANONYMOUS, SERVICE, Caller, CallerRole
from runtime.database import Database
from runtime.refusal import CallRefused
from tests.support.rows import fetch_rows
from tests.support.rpc import call

ADMIN = Caller(CallerRole.ADMIN, new_id())
CUSTOMER = Caller(CallerRole.CUSTOMER, new_id())
DEADLINE = 5.0


class Client:
    """The service's calls, each by whoever usually makes it."""

    def __init__(self, stub: ProductServiceStub) -> None:
        self.stub = stub

    async def create(
        self,
        *,
        name: str = "Mug",
        description: str = "",
        unit_price: int = 1_250,
        currency: str = "EUR",
        key: str = "",
        caller: Caller = ADMIN,
    ) -> pb.Product:
        request = pb.CreateProductRequest(
            name=name, description=description, unit_price=unit_price, currency=currency, idempotency_key=key
        )
        return (await call(self.stub.CreateProduct, request, caller=caller, deadline=DEADLINE)).product

    async def get(self, product_id: str, *, caller: Caller = ANONYMOUS) -> pb.Product:
        request = pb.GetProductRequest(product_id=product_id)
        return (await call(self.stub.GetProduct, request, caller=caller, deadline=DEADLINE)).product

    async def list_page(self, *, size: int, token: str = "", caller: Caller = ANONYMOUS) -> pb.ListProductsResponse:
        request = pb.ListProductsRequest(page_size=size, page_token=token)
        return await call(self.stub.ListProducts, request, caller=caller, deadline=DEADLINE)

    async def quote(
        self,
        lines: Sequence[tuple[str, int]],
        *,
        currency: str = "EUR",
        expected_total: int | None = None,
        adjustment: int = 0,
        caller: Caller = SERVICE,
    ) -> pb.QuoteResponse:
        request = pb.QuoteRequest(
            lines=[OrderLine(product_id=product_id, quantity=quantity) for product_id, quantity in lines],
            currency=currency,
            expected_total=expected_total,
            adjustment=adjustment,
        )
        return await call(self.stub.Quote, request, caller=caller, deadline=DEADLINE)


@pytest.fixture(scope="module")
def products(stub: ProductServiceStub) -> Client:
    return Client(stub)


async def deactivate(database: Database, product_id: str) -> None:
    async with database.autocommit() as connection:
        await connection.execute("UPDATE products SET active = false WHERE id = %(id)s", id=product_id)


async def outbox(database: Database, product_id: str) -> list[tuple[str, str, str, int, dict[str, object]]]:
    rows = await fetch_rows(
        database, "SELECT topic, ce_type, ce_id, ce_seq, data FROM outbox WHERE key = %(id)s ORDER BY id", id=product_id
    )
    return [(topic, kind, event_id, seq, json.loads(data)) for topic, kind, event_id, seq, data in rows]


async def test_an_admin_makes_a_product_that_anybody_can_read(products: Client) -> None:
    made = await products.create(name="Tasse", description="Blau", unit_price=990, currency="CHF")

    assert await products.get(made.id) == made
    assert (made.name, made.description, made.unit_price, made.currency) == ("Tasse", "Blau", 990, "CHF")
    assert made.active
    assert made.HasField("created_at")


async def test_a_new_product_has_one_event(products: Client, database: Database) -> None:
    product = await products.create(name="Mug", unit_price=1_250)

    [(topic, kind, event_id, seq, data)] = await outbox(database, product.id)
    assert (topic, kind, event_id, seq) == ("product-events", "product.created", f"product:{product.id}:1", 1)
    assert {name: data[name] for name in ("productId", "name", "unitPrice", "currency", "active")} == {
        "productId": product.id,
        "name": "Mug",
        "unitPrice": "1250",
        "currency": "EUR",
        "active": True,
    }


async def test_a_key_makes_one_product_however_often_it_is_sent(products: Client, database: Database) -> None:
    key = new_id()

    made = await asyncio.gather(*(products.create(key=key) for _ in range(4)))
    again = await products.create(key=key)

    assert {product.id for product in made} == {again.id}
    assert len(await outbox(database, again.id)) == 1
    assert (await products.create()).id != (await products.create()).id


async def test_a_key_stands_for_one_product(products: Client) -> None:
    key = new_id()
    await products.create(name="Mug", key=key)

    with pytest.raises(CallRefused) as caught:
        await products.create(name="Pen", key=key)

    assert caught.value.refusal is Refusal.IDEMPOTENCY_KEY_REUSED


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("name", {"name": ""}),
        ("name", {"name": "   "}),
        ("name", {"name": "x" * 201}),
        ("name", {"name": "a\x00b"}),
        ("description", {"description": "x" * 5_001}),
        ("unit_price", {"unit_price": -1}),
        ("unit_price", {"unit_price": MAX_AMOUNT + 1}),
        ("currency", {"currency": ""}),
        ("currency", {"currency": "eur"}),
        ("currency", {"currency": "XXX"}),
    ],
)
async def test_a_product_that_does_not_fit_is_refused_by_field(
    products: Client, field: str, changes: dict[str, str | int]
) -> None:
    with pytest.raises(CallRefused) as caught:
        await products.create(**changes)  # type: ignore[arg-type]  # the table above mixes texts and numbers

    assert caught.value.refusal is Refusal.INVALID_ARGUMENT
    assert set(caught.value.details) == {field}


async def test_every_fault_is_named_at_once(products: Client) -> None:
    with pytest.raises(CallRefused) as caught:
        await products.create(name="", unit_price=-1, currency="?")

    assert set(caught.value.details) == {"name", "unit_price", "currency"}


async def test_the_largest_price_and_a_gift_are_accepted(products: Client) -> None:
    for price in (0, MAX_AMOUNT):
        assert (await products.create(unit_price=price)).unit_price == price


async def test_an_unknown_product_is_not_found(products: Client) -> None:
    product_id = new_id()

    with pytest.raises(CallRefused) as caught:
        await products.get(product_id)

    assert caught.value.refusal is Refusal.PRODUCT_NOT_FOUND
    assert caught.value.details == {"product_id": product_id}


@pytest.mark.parametrize("product_id", ["", "7", "0199B0B4-7C1E-7D3A-8F21-5B6C7D8E9FA0", "'; DROP TABLE products"])
async def test_a_malformed_product_id_is_refused(products: Client, product_id: str) -> None:
    with pytest.raises(CallRefused) as caught:
        await products.get(product_id)

    assert caught.value.refusal is Refusal.INVALID_ARGUMENT
    assert set(caught.value.details) == {"product_id"}


async def test_pages_hold_every_active_product_once_in_the_order_of_creation(
    products: Client, database: Database
) -> None:
    made = [(await products.create(name=f"Mug {number}")).id for number in range(5)]
    await deactivate(database, made[2])

    listed: list[str] = []
    token = ""
    while True:
        page = await products.list_page(size=2, token=token)
        assert len(page.products) <= 2
        listed += [product.id for product in page.products]
        token = page.next_page_token
        if not token:
            break

    assert listed == sorted(set(listed))
    assert [product_id for product_id in listed if product_id in made] == [*made[:2], *made[3:]]


async def test_the_last_page_has_no_token_even_when_it_is_full(products: Client) -> None:
    last = await products.create()
    before_last = base64.urlsafe_b64encode((int(last.id.replace("-", ""), 16) - 1).to_bytes(16, "big"))

    page = await products.list_page(size=1, token=before_last.decode().rstrip("="))

    assert [product.id for product in page.products] == [last.id]
    assert page.next_page_token == ""


@pytest.mark.parametrize("size", [-1, 0, 101])
async def test_a_page_size_out_of_range_is_refused(products: Client, size: int) -> None:
    with pytest.raises(CallRefused) as caught:
        await products.list_page(size=size)

    assert caught.value.refusal is Refusal.INVALID_ARGUMENT
    assert set(caught.value.details) == {"page_size"}


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "%",
        "é",
        "A" * 21,
        "A" * 23,
        "A" * 21 + "B",
        "A" * 10_000,
        "AAAA!" * 5,
        "0199b0b4-7c1e-7d3a-8f21-5b6c7d8e9fa0",
    ],
)
async def test_a_page_token_that_is_not_ours_is_refused(products: Client, token: str) -> None:
    with pytest.raises(CallRefused) as caught:
        await products.list_page(size=10, token=token)

    assert caught.value.refusal is Refusal.INVALID_ARGUMENT
    assert set(caught.value.details) == {"page_token"}


async def test_a_quote_prices_every_line_in_the_requests_order(products: Client) -> None:
    mug = (await products.create(unit_price=1_250)).id
    pen = (await products.create(name="Pen", unit_price=199)).id

    quote = await products.quote([(pen, 3), (mug, 2)], expected_total=3_097)

    assert [(line.product_id, line.quantity, line.unit_price, line.name) for line in quote.lines] == [
        (pen, 3, 199, "Pen"),
        (mug, 2, 1_250, "Mug"),
    ]
    assert quote.total == 3_097


async def test_a_quote_of_a_thousand_lines(products: Client) -> None:
    mug = (await products.create(unit_price=100)).id
    unknown = [new_id() for _ in range(999)]

    with pytest.raises(CallRefused) as caught:
        await products.quote([(mug, 1), *((product_id, 10_000) for product_id in unknown)])

    assert caught.value.refusal is Refusal.PRODUCT_NOT_FOUND
    assert caught.value.details == {"product_id": unknown[0]}


async def test_a_quote_refuses_what_cannot_be_sold(products: Client, database: Database) -> None:
    inactive = (await products.create()).id
    await deactivate(database, inactive)
    dollars = (await products.create(currency="USD")).id
    faulty = {
        new_id(): Refusal.PRODUCT_NOT_FOUND,
        inactive: Refusal.PRODUCT_INACTIVE,
        dollars: Refusal.CURRENCY_MISMATCH,
    }

    for product_id, refusal in faulty.items():
        with pytest.raises(CallRefused) as caught:
            await products.quote([(product_id, 1)])
        assert caught.value.refusal is refusal
        assert caught.value.details["product_id"] == product_id


async def test_of_several_faulty_lines_the_first_decides(products: Client, database: Database) -> None:
    inactive = (await products.create()).id
    await deactivate(database, inactive)
    dollars = (await products.create(currency="USD")).id
    good = (await products.create()).id
    unknown = new_id()

    orders = {
        (good, dollars, inactive, unknown): Refusal.CURRENCY_MISMATCH,
        (good, inactive, unknown, dollars): Refusal.PRODUCT_INACTIVE,
        (unknown, good, dollars, inactive): Refusal.PRODUCT_NOT_FOUND,
    }

    for ids, refusal in orders.items():
        with pytest.raises(CallRefused) as caught:
            await products.quote([(product_id, 1) for product_id in ids], expected_total=1)
        assert caught.value.refusal is refusal


@pytest.mark.parametrize("expected_total", [0, 2_499, 2_501])
async def test_another_total_than_the_customer_saw_is_a_changed_price(products: Client, expected_total: int) -> None:
    mug = (await products.create(unit_price=1_250)).id

    with pytest.raises(CallRefused) as caught:
        await products.quote([(mug, 2)], expected_total=expected_total)

    assert caught.value.refusal is Refusal.PRICE_CHANGED
    assert caught.value.details == {"expected_total": str(expected_total), "total": "2500"}


async def test_a_gift_may_be_expected_to_cost_nothing(products: Client) -> None:
    gift = (await products.create(unit_price=0)).id

    assert (await products.quote([(gift, 1)], expected_total=0)).total == 0


@pytest.mark.parametrize("adjustment", [490, -490, -2_500])
async def test_shipping_and_discounts_are_part_of_the_total(products: Client, adjustment: int) -> None:
    mug, total = (await products.create(unit_price=1_250)).id, 2_500 + adjustment

    quote = await products.quote([(mug, 2)], adjustment=adjustment, expected_total=total)

    assert (quote.total, [line.unit_price for line in quote.lines]) == (total, [1_250])


async def test_discounts_of_more_than_all_the_rest_are_refused(products: Client) -> None:
    mug = (await products.create(unit_price=1_250)).id

    with pytest.raises(CallRefused) as caught:
        await products.quote([(mug, 2)], adjustment=-2_501)

    assert caught.value.refusal is Refusal.DISCOUNT_TOO_LARGE
    assert caught.value.details == {"total": "-1"}


@pytest.mark.parametrize("adjustment", [MAX_ADJUSTMENT + 1, -MAX_ADJUSTMENT - 1])
async def test_an_adjustment_that_no_order_can_have_is_named(products: Client, adjustment: int) -> None:
    with pytest.raises(CallRefused) as caught:
        await products.quote([(new_id(), 1)], adjustment=adjustment)

    assert caught.value.refusal is Refusal.INVALID_ARGUMENT
    assert list(caught.value.details) == ["adjustment"]


async def test_a_total_larger_than_any_order_may_be_is_refused(products: Client) -> None:
    yacht = (await products.create(unit_price=MAX_AMOUNT)).id

    assert (await products.quote([(yacht, 1)])).total == MAX_AMOUNT
    with pytest.raises(CallRefused) as caught:
        await products.quote([(yacht, 10_000)])
    assert caught.value.refusal is Refusal.PAYMENT_REJECTED
    assert set(caught.value.details) == {"total", "largest"}


MUG = new_id()


@pytest.mark.parametrize(
    ("field", "lines", "currency", "expected_total"),
    [
        ("lines", [], "EUR", None),
        ("lines", [(MUG, 1), (MUG, 2)], "EUR", None),
        ("lines[0].product_id", [("mug", 1)], "EUR", None),
        ("lines[0].quantity", [(MUG, 0)], "EUR", None),
        ("lines[0].quantity", [(MUG, 10_001)], "EUR", None),
        ("currency", [(MUG, 1)], "euro", None),
        ("expected_total", [(MUG, 1)], "EUR", -1),
        ("expected_total", [(MUG, 1)], "EUR", MAX_AMOUNT + 1),
    ],
)
async def test_a_quote_that_does_not_fit_is_refused_by_field(
    products: Client, field: str, lines: list[tuple[str, int]], currency: str, expected_total: int | None
) -> None:
    with pytest.raises(CallRefused) as caught:
        await products.quote(lines, currency=currency, expected_total=expected_total)

    assert caught.value.refusal is Refusal.INVALID_ARGUMENT
    assert set(caught.value.details) == {field}


async def test_more_lines_than_an_order_may_have_are_refused(products: Client) -> None:
    with pytest.raises(CallRefused) as caught:
        await products.quote([(new_id(), 1) for _ in range(1_001)])

    assert caught.value.refusal is Refusal.INVALID_ARGUMENT
    assert set(caught.value.details) == {"lines"}
