"""All SQL of the product service. Every method runs on the caller's connection, in its transaction."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from runtime.database import Connection
from runtime.outbox import Event, encode_events, with_events
from services.product.model import Price, Product

_PRODUCT: Final = """
    SELECT id, name, description, unit_price, currency, active, seq, created_at, updated_at, deleted_at FROM products
"""
_ADD_PRODUCT: Final = with_events("""
    changed AS (
        INSERT INTO products (id, name, description, unit_price, currency, active, seq, created_at, updated_at)
        VALUES (%(product_id)s, %(name)s, %(description)s, %(unit_price)s, %(currency)s, %(active)s, %(seq)s,
                %(created_at)s, %(updated_at)s)
        RETURNING id
    )
""")
_SAVE_PRODUCT: Final = with_events("""
    changed AS (
        UPDATE products
           SET name = %(name)s, description = %(description)s, unit_price = %(unit_price)s, active = %(active)s,
               seq = %(seq)s, updated_at = %(updated_at)s, deleted_at = %(deleted_at)s
         WHERE id = %(product_id)s
        RETURNING id
    )
""")


class ProductRepository:
    """The catalogue, on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add_product(self, product: Product, events: Sequence[Event]) -> None:
        """Write a new product, and its events to the outbox."""
        await self._connection.execute(
            _ADD_PRODUCT,
            product_id=product.id,
            name=product.name,
            description=product.description,
            unit_price=product.unit_price,
            currency=product.currency,
            active=product.active,
            seq=product.seq,
            created_at=product.created_at,
            updated_at=product.updated_at,
            events=encode_events(events),
        )

    async def lock_product(self, product_id: str) -> Product | None:
        """One product, deleted or not, held until the end of the transaction."""
        return await self._connection.fetch_one(
            Product, f"{_PRODUCT} WHERE id = %(product_id)s FOR UPDATE", product_id=product_id
        )

    async def save_product(self, product: Product, events: Sequence[Event]) -> None:
        """Write what can change of a locked product, and its events to the outbox."""
        await self._connection.execute(
            _SAVE_PRODUCT,
            product_id=product.id,
            name=product.name,
            description=product.description,
            unit_price=product.unit_price,
            active=product.active,
            seq=product.seq,
            updated_at=product.updated_at,
            deleted_at=product.deleted_at,
            events=encode_events(events),
        )

    async def find_product(self, product_id: str) -> Product | None:
        """One product, active or not, deleted or not."""
        return await self._connection.fetch_one(Product, f"{_PRODUCT} WHERE id = %(product_id)s", product_id=product_id)

    async def find_prices(self, product_ids: Collection[str]) -> dict[str, Price]:
        """Prices of those of the products that there are, by id: one SELECT, so all of one moment."""
        prices = await self._connection.fetch_all(
            Price,
            """
            SELECT id AS product_id, unit_price, currency, active
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
             WHERE active AND id > coalesce(%(after)s::uuid, '00000000-0000-0000-0000-000000000000')
             ORDER BY id
             LIMIT %(limit)s
            """,
            after=after,
            limit=limit,
        )
