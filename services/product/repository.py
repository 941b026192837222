"""All SQL of the product service. Every method runs on the caller's connection, in its transaction."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from domain.ids import LEAST_ID
from runtime.database import Connection
from runtime.outbox import Event, encode_events, with_events
from runtime.rows import columns, overwrite, parameters
from services.product.model import Price, Product
from services.product.tables import ProductRow

_PRODUCT: Final = f"SELECT {columns(ProductRow)} FROM products"  # noqa: S608 - put together from constants
_SAVE_PRODUCT: Final = with_events(
    f"""
    changed AS (
        INSERT INTO products ({columns(ProductRow)}) VALUES ({parameters(ProductRow)})
        ON CONFLICT (id) DO UPDATE SET {overwrite(ProductRow, without={"currency", "created_at"})}
        RETURNING id
    )
    """  # noqa: S608 - put together from constants
)


class ProductRepository:
    """The catalogue, on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def lock_product(self, product_id: str) -> Product | None:
        """One product, deleted or not, held until the end of the transaction."""
        return await self._connection.fetch_one(
            Product, f"{_PRODUCT} WHERE id = %(product_id)s FOR UPDATE", product_id=product_id
        )

    async def save_product(self, product: Product, event: Event) -> None:
        """Store a new product, or what can change of a locked one, and its event in the outbox."""
        await self._connection.execute(_SAVE_PRODUCT, **product.model_dump(), events=encode_events([event]))

    async def find_product(self, product_id: str) -> Product | None:
        """One product, active or not, deleted or not."""
        return await self._connection.fetch_one(Product, f"{_PRODUCT} WHERE id = %(product_id)s", product_id=product_id)

    async def get_product(self, product_id: str) -> Product:
        """One product that there is, active or not, deleted or not.

        Raises:
            LookupError: there is none.
        """
        product = await self.find_product(product_id)
        if product is None:
            raise LookupError(f"there is no product {product_id}")
        return product

    async def find_prices(self, product_ids: Collection[str]) -> dict[str, Price]:
        """Prices and names of those of the products that there are, by id: one SELECT, so all of one moment."""
        prices = await self._connection.fetch_all(
            Price,
            """
            SELECT id AS product_id, name, unit_price, currency, active
              FROM products
             WHERE id = ANY(%(product_ids)s::uuid[]) AND deleted_at IS NULL
            """,
            product_ids=list(product_ids),
        )
        return {price.product_id: price for price in prices}

    async def list_active(self, *, after: str | None, limit: int) -> list[Product]:
        """Active products in the order of their creation, from the one after the id `after`."""
        return await self._connection.fetch_all(
            Product,
            f"""
            {_PRODUCT}
             WHERE active AND id > coalesce(%(after)s::uuid, '{LEAST_ID}')
             ORDER BY id
             LIMIT %(limit)s
            """,
            after=after,
            limit=limit,
        )
