"""All SQL of the product service. Every method runs in the caller's transaction and never commits."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import Mapped
from sqlmodel import col

from runtime.outbox import Event, add_events
from services.product.tables import Outbox
from services.product.tables import Product as ProductRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A product in its version `seq`; the price in minor units of `currency` per piece."""

    id: str
    name: str
    description: str
    unit_price: int
    currency: str
    active: bool
    seq: int
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None


_PRODUCT: Sequence[Mapped[Any]] = (
    col(ProductRow.id),
    col(ProductRow.name),
    col(ProductRow.description),
    col(ProductRow.unit_price),
    col(ProductRow.currency),
    col(ProductRow.active),
    col(ProductRow.seq),
    col(ProductRow.created_at),
    col(ProductRow.updated_at),
    col(ProductRow.deleted_at),
)


class ProductRepository:
    """The catalogue, in one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def now(self) -> datetime:
        """The transaction's time."""
        return (await self._connection.execute(select(func.now()))).scalar_one()

    async def add_product(self, product: Product, events: Sequence[Event]) -> None:
        """Write a new product, and its events to the outbox."""
        row = {
            "id": product.id,
            "name": product.name,
            "description": product.description,
            "unit_price": product.unit_price,
            "currency": product.currency,
            "active": product.active,
            "seq": product.seq,
            "created_at": product.created_at,
            "updated_at": product.updated_at,
        }
        await self._connection.execute(insert(ProductRow).values(row))
        await add_events(self._connection, Outbox, events)

    async def lock_product(self, product_id: str) -> Product | None:
        """One product, deleted or not, held until the end of the transaction."""
        statement = select(*_PRODUCT).where(col(ProductRow.id) == product_id).with_for_update()
        row = (await self._connection.execute(statement)).one_or_none()
        return None if row is None else _to_product(row)

    async def save_product(self, product: Product, events: Sequence[Event]) -> None:
        """Write what can change of a locked product, and its events to the outbox."""
        await self._connection.execute(
            update(ProductRow)
            .where(col(ProductRow.id) == product.id)
            .values(
                name=product.name,
                description=product.description,
                unit_price=product.unit_price,
                active=product.active,
                seq=product.seq,
                updated_at=product.updated_at,
                deleted_at=product.deleted_at,
            )
        )
        await add_events(self._connection, Outbox, events)

    async def find_product(self, product_id: str) -> Product | None:
        """One product, active or not, deleted or not."""
        products = await self.find_products([product_id])
        return products.get(product_id)

    async def find_products(self, product_ids: Collection[str]) -> dict[str, Product]:
        """Those of the products that there are or were, by id: one SELECT, so all of one moment."""
        statement = select(*_PRODUCT).where(col(ProductRow.id).in_(product_ids))
        rows = (await self._connection.execute(statement)).all()
        return {row.id: _to_product(row) for row in rows}

    async def list_active(self, *, after: str | None, limit: int) -> list[Product]:
        """Active products in the order of their creation, from the one after the id `after`."""
        statement = select(*_PRODUCT).where(col(ProductRow.active)).order_by(col(ProductRow.id)).limit(limit)
        if after is not None:
            statement = statement.where(col(ProductRow.id) > after)
        rows = (await self._connection.execute(statement)).all()
        return [_to_product(row) for row in rows]


def _to_product(row: Row[*tuple[Any, ...]]) -> Product:
    return Product(**row._mapping)
