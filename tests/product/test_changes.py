"""Changing and deleting products over gRPC, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from domain.ids import new_id
from domain.money import MAX_AMOUNT
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

    async def create(self) -> pb.Product:
        request = pb.CreateProductRequest(name="Mug", description="Blue", unit_price=1_250, currency="EUR")
        return (await call(self.stub.CreateProduct, request, caller=ADMIN, deadline=DEADLINE)).product

    async def update(
        self, product_id: str, *, expected: Sequence[int] = (), caller: Caller = ADMIN, **changes: Any
    ) -> pb.Product:
        request = pb.UpdateProductRequest(product_id=product_id, expected_versions=expected, **changes)
        return (await call(self.stub.UpdateProduct, request, caller=caller, deadline=DEADLINE)).product

    async def delete(self, product_id: str, *, expected: Sequence[int] = (), caller: Caller = ADMIN) -> None:
        request = pb.DeleteProductRequest(product_id=product_id, expected_versions=expected)
        await call(self.stub.DeleteProduct, request, caller=caller, deadline=DEADLINE)

    async def get(self, product_id: str, *, caller: Caller = ANONYMOUS) -> pb.Product:
        request = pb.GetProductRequest(product_id=product_id)
        return (await call(self.stub.GetProduct, request, caller=caller, deadline=DEADLINE)).product

    async def quote(self, product_id: str) -> pb.QuoteResponse:
        request = pb.QuoteRequest(lines=[OrderLine(product_id=product_id, quantity=1)], currency="EUR")
        return await call(self.stub.Quote, request, caller=SERVICE, deadline=DEADLINE)

    async def listed(self) -> set[str]:
        found: set[str] = set()
        token = ""
        while True:
            request = pb.ListProductsRequest(page_size=100, page_token=token)
            page = await call(self.stub.ListProducts, request, caller=ANONYMOUS, deadline=DEADLINE)
            found |= {product.id for product in page.products}
            token = page.next_page_token
            if not token:
                return found


@pytest.fixture(scope="module")
def products(stub: ProductServiceStub) -> Client:
    return Client(stub)


async def events(database: Database, product_id: str) -> list[tuple[str, str, dict[str, Any]]]:
    rows = await fetch_rows(
        database, "SELECT ce_type, ce_id, data FROM outbox WHERE key = %(id)s ORDER BY id", id=product_id
    )
    return [(kind, event_id, json.loads(data)) for kind, event_id, data in rows]


async def test_what_is_given_changes_and_the_rest_stays(products: Client) -> None:
    made = await products.create()

    changed = await products.update(made.id, name="Cup", unit_price=990)

    assert await products.get(made.id) == changed
    assert (changed.name, changed.description, changed.unit_price, changed.currency) == ("Cup", "Blue", 990, "EUR")
    assert (changed.active, changed.version, changed.created_at) == (True, 2, made.created_at)
    assert changed.updated_at.ToNanoseconds() > made.updated_at.ToNanoseconds()


async def test_each_change_has_an_event_with_its_version(products: Client, database: Database) -> None:
    product = await products.create()

    await products.update(product.id, unit_price=990)
    await products.update(product.id, active=False)
    await products.delete(product.id)

    published = await events(database, product.id)
    assert [(kind, event_id) for kind, event_id, _ in published] == [
        ("product.created", f"product:{product.id}:1"),
        ("product.updated", f"product:{product.id}:2"),
        ("product.updated", f"product:{product.id}:3"),
        ("product.deleted", f"product:{product.id}:4"),
    ]
    assert [(data["unitPrice"], data["active"]) for _, _, data in published] == [
        ("1250", True),
        ("990", True),
        ("990", False),
        ("990", False),
    ]


@pytest.mark.parametrize("changes", [{}, {"name": "Mug", "unit_price": 1_250}], ids=["nothing given", "nothing new"])
async def test_what_changes_nothing_makes_no_version_and_no_event(
    products: Client, database: Database, changes: dict[str, Any]
) -> None:
    product = await products.create()

    assert await products.update(product.id, **changes) == product

    assert len(await events(database, product.id)) == 1


async def test_an_empty_description_a_price_of_nothing_and_false_are_changes(products: Client) -> None:
    product = await products.create()

    changed = await products.update(product.id, description="", unit_price=0, active=False)

    assert (changed.description, changed.unit_price, changed.active) == ("", 0, False)


async def test_an_inactive_product_is_readable_but_not_for_sale_until_it_is_active_again(products: Client) -> None:
    product = await products.create()
    await products.update(product.id, active=False)

    assert not (await products.get(product.id)).active
    assert product.id not in await products.listed()
    with pytest.raises(CallRefused) as caught:
        await products.quote(product.id)
    assert caught.value.refusal is Refusal.PRODUCT_INACTIVE
    await products.update(product.id, active=True)
    assert (await products.quote(product.id)).total == 1_250


async def test_a_change_of_an_older_version_is_refused_and_changes_nothing(
    products: Client, database: Database
) -> None:
    product = await products.create()
    await products.update(product.id, name="Cup", expected=[1])

    for attempt in (
        products.update(product.id, name="Bowl", expected=[1]),
        products.update(product.id, expected=[0, 1, 3]),
        products.delete(product.id, expected=[1]),
    ):
        with pytest.raises(CallRefused) as caught:
            await attempt
        assert caught.value.refusal is Refusal.STALE_VERSION
        assert caught.value.details == {"product_id": product.id, "version": "2"}

    assert (await products.get(product.id)).name == "Cup"
    assert len(await events(database, product.id)) == 2
    await products.delete(product.id, expected=[1, 2])


async def test_of_many_changes_of_one_version_one_wins(products: Client, database: Database) -> None:
    product = await products.create()

    outcomes = await asyncio.gather(
        *(products.update(product.id, unit_price=price, expected=[1]) for price in range(8)), return_exceptions=True
    )

    refused = [outcome.refusal for outcome in outcomes if isinstance(outcome, CallRefused)]
    assert refused == [Refusal.STALE_VERSION] * 7
    assert len(await events(database, product.id)) == 2


async def test_changes_at_once_without_a_version_all_happen_one_after_the_other(
    products: Client, database: Database
) -> None:
    product = await products.create()

    await asyncio.gather(*(products.update(product.id, unit_price=price) for price in range(8)))

    published = await events(database, product.id)
    assert [event_id for _, event_id, _ in published] == [f"product:{product.id}:{seq}" for seq in range(1, 10)]
    assert published[-1][2]["unitPrice"] == str((await products.get(product.id)).unit_price)


async def test_a_deleted_product_is_gone_for_customers_and_kept_for_mails(products: Client) -> None:
    product = await products.create()

    await products.delete(product.id)

    for caller in (ANONYMOUS, CUSTOMER):
        with pytest.raises(CallRefused) as caught:
            await products.get(product.id, caller=caller)
        assert caught.value.refusal is Refusal.PRODUCT_NOT_FOUND
    for caller in (SERVICE, ADMIN):
        kept = await products.get(product.id, caller=caller)
        assert (kept.name, kept.active, kept.version) == ("Mug", False, 2)
    assert product.id not in await products.listed()
    with pytest.raises(CallRefused) as caught:
        await products.quote(product.id)
    assert caught.value.refusal is Refusal.PRODUCT_NOT_FOUND


async def test_a_deleted_product_cannot_be_changed_nor_deleted_again(products: Client, database: Database) -> None:
    product = await products.create()
    await products.delete(product.id)

    for attempt in (
        products.update(product.id, active=True),
        products.delete(product.id),
        products.delete(product.id, expected=[1]),
    ):
        with pytest.raises(CallRefused) as caught:
            await attempt
        assert caught.value.refusal is Refusal.PRODUCT_NOT_FOUND

    assert len(await events(database, product.id)) == 2


async def test_an_unknown_product_is_neither_changed_nor_deleted(products: Client) -> None:
    for attempt in (products.update(new_id(), name="Cup"), products.delete(new_id(), expected=[1])):
        with pytest.raises(CallRefused) as caught:
            await attempt
        assert caught.value.refusal is Refusal.PRODUCT_NOT_FOUND


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
        ("product_id", {"product_id": "mug"}),
    ],
)
async def test_a_change_that_does_not_fit_is_refused_by_field(
    products: Client, field: str, changes: dict[str, Any]
) -> None:
    product = await products.create()

    with pytest.raises(CallRefused) as caught:
        await products.update(changes.pop("product_id", product.id), **changes)

    assert caught.value.refusal is Refusal.INVALID_ARGUMENT
    assert set(caught.value.details) == {field}
    assert await products.get(product.id) == product
