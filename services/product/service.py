"""Use cases of the product service, one transaction each."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Final

from domain.ids import new_id
from domain.money import MAX_AMOUNT
from domain.orders import OrderLine, PricedLine
from runtime.database import Database
from runtime.idempotency import IdempotencyKeys, IdempotentRequest
from services.product.errors import (
    CurrencyMismatch,
    DiscountTooLarge,
    PriceChanged,
    ProductInactive,
    ProductNotFound,
    StaleVersion,
    TotalTooLarge,
)
from services.product.messages import to_event
from services.product.model import Changes, NewProduct, Page, Price, PricedLines, Product
from services.product.repository import ProductRepository

CREATE_ROUTE: Final = "POST /v1/products"
"""Where the keys of `create` are sent."""


class ProductService:
    """The catalogue."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, new: NewProduct, *, idempotency_key: str | None = None, whose: str = "") -> Product:
        """Make an active product, once per key; a repeat answers with it as it is by now.

        Args:
            new: the product.
            idempotency_key: chosen by the caller. Without one, a repeat makes another product.
            whose: whose key it is, a UUID.

        Raises:
            IdempotencyKeyReused: the key stands for another product.
        """
        now = datetime.now(UTC)
        product = Product(
            id=new_id(), **asdict(new), active=True, seq=1, created_at=now, updated_at=now, deleted_at=None
        )
        async with self._database.transaction() as connection:
            repository = ProductRepository(connection)
            if idempotency_key is not None:
                keys = IdempotencyKeys(connection)
                request = IdempotentRequest.of(
                    asdict(new), user_id=whose, route=CREATE_ROUTE, key=idempotency_key, wait=0, at=now
                )
                if not await keys.claim(request, subject_id=product.id):
                    first = await keys.get_first(request)
                    return await repository.get_product(first.subject_id)
            await repository.save_product(product, to_event(product, "product.created"))
        return product

    async def update(self, product_id: str, changes: Changes, *, expected_versions: Collection[int]) -> Product:
        """Change a product, which gets its next version. What changes nothing makes no version and no event.

        Prices of orders that were quoted stay as they are.

        Raises:
            ProductNotFound: there is none.
            StaleVersion: versions were expected, and it is in none of them.
        """
        async with self._database.transaction() as connection:
            repository = ProductRepository(connection)
            product = await _lock(repository, product_id, expected_versions)
            if changed := changes.of(product):
                product = product.next_version(at=datetime.now(UTC), **changed)
                await repository.save_product(product, to_event(product, "product.updated"))
            return product

    async def delete(self, product_id: str, *, expected_versions: Collection[int]) -> None:
        """Take a product out of the catalogue for good; orders that were quoted are not touched.

        Raises:
            ProductNotFound: there is none, or none any more.
            StaleVersion: versions were expected, and it is in none of them.
        """
        async with self._database.transaction() as connection:
            repository = ProductRepository(connection)
            product = await _lock(repository, product_id, expected_versions)
            now = datetime.now(UTC)
            deleted = product.next_version(at=now, active=False, deleted_at=now)
            await repository.save_product(deleted, to_event(deleted, "product.deleted"))

    async def get(self, product_id: str, *, deleted_too: bool) -> Product:
        """One product, active or not.

        Raises:
            ProductNotFound: there is none.
        """
        async with self._database.autocommit() as connection:
            product = await ProductRepository(connection).find_product(product_id)
        if product is None or (product.deleted_at is not None and not deleted_too):
            raise ProductNotFound(product_id)
        return product

    async def list_active(self, *, after: str | None, page_size: int) -> Page:
        """At most `page_size` active products in the order of their creation, from the one after the id `after`."""
        async with self._database.autocommit() as connection:
            products = await ProductRepository(connection).list_active(after=after, limit=page_size + 1)
        return Page(products=products[:page_size], has_more=len(products) > page_size)

    async def quote(
        self, lines: Sequence[OrderLine], *, currency: str, expected_total: int | None, adjustment: int = 0
    ) -> PricedLines:
        """Today's prices and names of all lines, and what an order of them costs.

        Args:
            lines: each product once; of several faulty ones the first decides.
            currency: of the order.
            expected_total: that the customer saw, minor units; None for whichever it is.
            adjustment: what shipping and discounts do to the total, minor units; below zero where it is less by them.

        Raises:
            ProductNotFound: there is no such product.
            ProductInactive: it is not for sale.
            CurrencyMismatch: it is priced in another currency.
            DiscountTooLarge: the total would be below zero.
            TotalTooLarge: no order may cost so much.
            PriceChanged: the total is not the expected one.
        """
        async with self._database.autocommit() as connection:
            prices = await ProductRepository(connection).find_prices([line.product_id for line in lines])
        priced = [_price(line, prices.get(line.product_id), currency=currency) for line in lines]
        total = add_up(priced, adjustment=adjustment)
        if expected_total is not None and total != expected_total:
            raise PriceChanged(expected_total=expected_total, total=total)
        return PricedLines(lines=priced, total=total)


def add_up(lines: Sequence[PricedLine], *, adjustment: int) -> int:
    """What an order costs, see `ProductService.quote`.

    Raises:
        DiscountTooLarge, TotalTooLarge: no order can cost that.
    """
    total = sum(line.total for line in lines) + adjustment
    if total < 0:
        raise DiscountTooLarge(total=total)
    if total > MAX_AMOUNT:
        raise TotalTooLarge(total=total, largest=MAX_AMOUNT)
    return total


def _price(line: OrderLine, price: Price | None, *, currency: str) -> PricedLine:
    if price is None:
        raise ProductNotFound(line.product_id)
    if not price.active:
        raise ProductInactive(line.product_id)
    if price.currency != currency:
        raise CurrencyMismatch(product_id=line.product_id, priced_in=price.currency, asked_in=currency)
    return PricedLine(product_id=line.product_id, quantity=line.quantity, unit_price=price.unit_price, name=price.name)


async def _lock(repository: ProductRepository, product_id: str, expected_versions: Collection[int]) -> Product:
    product = await repository.lock_product(product_id)
    if product is None or product.deleted_at is not None:
        raise ProductNotFound(product_id)
    if expected_versions and product.seq not in expected_versions:
        raise StaleVersion(product_id=product_id, version=product.seq)
    return product
