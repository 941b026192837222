"""Use cases of the product service, one transaction each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp

from domain.events import PRODUCT_EVENTS
from domain.ids import new_id
from domain.money import MAX_AMOUNT
from domain.orders import OrderLine, PricedLine
from ordersaga.events.v1.product_events_pb2 import ProductChanged
from runtime.database import Database
from runtime.outbox import Event
from services.product.errors import CurrencyMismatch, PriceChanged, ProductInactive, ProductNotFound, TotalTooLarge
from services.product.repository import Product, ProductRepository


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Products, and whether more follow the last of them."""

    products: list[Product]
    has_more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedLines:
    """Lines with today's prices and their total, in minor units of the one currency that was asked for."""

    lines: list[PricedLine]
    total: int


class ProductService:
    """The catalogue."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, *, name: str, description: str, unit_price: int, currency: str) -> Product:
        """Make an active product. Not idempotent: a repeat makes another one."""
        async with self._database.transaction() as connection:
            repository = ProductRepository(connection)
            product = Product(
                id=new_id(),
                name=name,
                description=description,
                unit_price=unit_price,
                currency=currency,
                active=True,
                seq=1,
                created_at=await repository.now(),
            )
            await repository.add_product(product, [_created(product)])
            return product

    async def get(self, product_id: str) -> Product:
        """One product, active or not.

        Raises:
            ProductNotFound: there is none.
        """
        async with self._database.transaction() as connection:
            product = await ProductRepository(connection).find_product(product_id)
        if product is None:
            raise ProductNotFound(product_id)
        return product

    async def list_active(self, *, after: str | None, page_size: int) -> Page:
        """At most `page_size` active products in the order of their creation, from the one after the id `after`."""
        async with self._database.transaction() as connection:
            products = await ProductRepository(connection).list_active(after=after, limit=page_size + 1)
        return Page(products=products[:page_size], has_more=len(products) > page_size)

    async def quote(self, lines: Sequence[OrderLine], *, currency: str, expected_total: int | None) -> PricedLines:
        """Today's prices of all lines; of several faulty lines the first decides.

        Raises:
            ProductNotFound: there is no such product.
            ProductInactive: it is not for sale.
            CurrencyMismatch: it is priced in another currency.
            TotalTooLarge: no order may cost so much.
            PriceChanged: the total is not the expected one.
        """
        async with self._database.transaction() as connection:
            products = await ProductRepository(connection).find_products([line.product_id for line in lines])
        priced = [_price(line, products.get(line.product_id), currency=currency) for line in lines]
        total = sum(line.total for line in priced)
        if total > MAX_AMOUNT:
            raise TotalTooLarge(total=total, largest=MAX_AMOUNT)
        if expected_total is not None and total != expected_total:
            raise PriceChanged(expected_total=expected_total, total=total)
        return PricedLines(lines=priced, total=total)


def _price(line: OrderLine, product: Product | None, *, currency: str) -> PricedLine:
    if product is None:
        raise ProductNotFound(line.product_id)
    if not product.active:
        raise ProductInactive(product.id)
    if product.currency != currency:
        raise CurrencyMismatch(product_id=product.id, priced_in=product.currency, asked_in=currency)
    return PricedLine(product_id=product.id, quantity=line.quantity, unit_price=product.unit_price)


def _created(product: Product) -> Event:
    at = Timestamp()
    at.FromDatetime(product.created_at)
    return Event(
        topic=PRODUCT_EVENTS,
        key=product.id,
        type="product.created",
        aggregate="product",
        aggregate_id=product.id,
        seq=product.seq,
        cause_id=product.id,
        data=ProductChanged(
            product_id=product.id,
            name=product.name,
            unit_price=product.unit_price,
            currency=product.currency,
            active=product.active,
            at=at,
        ),
        at=product.created_at,
    )
