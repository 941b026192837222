"""Lines of orders, carts and refunds, as they cross HTTP."""

from __future__ import annotations

from typing import Annotated

from api.schemas.fields import Id, Request, whole
from domain.orders import MAX_QUANTITY


class Line(Request, frozen=True, kw_only=True):
    """A quantity of one product."""

    product_id: Id
    quantity: Annotated[int, whole(1, MAX_QUANTITY)]
