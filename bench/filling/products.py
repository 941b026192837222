"""The product database: the catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from random import Random
from typing import Final

from bench.filling.goods import CURRENCY, Product
from bench.filling.sheets import Events, Sheet, to_json
from bench.filling.story import moment
from domain.events import PRODUCT_EVENTS
from services.product.tables import Outbox, ProductRow

_PUBLISHED_AFTER: Final = timedelta(milliseconds=200)


class ProductDatabase:
    """Its sheets, in the order in which they can be written."""

    def __init__(self, random: Random) -> None:
        self._products = Sheet(
            ProductRow,
            *("id", "name", "description", "unit_price", "currency", "active", "seq", "created_at", "updated_at"),
        )
        self._events = Events(Outbox, topic=PRODUCT_EVENTS, aggregate="product", random=random)
        self.sheets: Sequence[Sheet] = [self._products, self._events]

    def add(self, product: Product) -> None:
        """One product, as it was made."""
        at = product.added_at
        self._products.add(product.id, product.name, "", product.price, CURRENCY, True, 1, at, at)
        data = {
            "productId": product.id,
            "name": product.name,
            "unitPrice": str(product.price),
            "currency": CURRENCY,
            "active": True,
            "at": moment(at),
        }
        self._events.add_event(
            "product.created",
            of=product.id,
            seq=1,
            key=product.id,
            cause=product.id,
            data=to_json(data),
            at=at,
            published_at=at + _PUBLISHED_AFTER,
        )
