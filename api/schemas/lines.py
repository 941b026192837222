"""Lines of orders, carts and refunds, as they cross HTTP."""

from __future__ import annotations

from typing import Annotated

from api.schemas.fields import Id, Request, plain_line, whole
from domain.limits import MAX_ADJUSTMENT_NAME
from domain.money import MAX_AMOUNT
from domain.orders import MAX_QUANTITY, AdjustmentType


class Line(Request, frozen=True, kw_only=True):
    """A quantity of one product."""

    product_id: Id
    quantity: Annotated[int, whole(1, MAX_QUANTITY)]


class PriceAdjustment(Request, frozen=True, kw_only=True):
    """What an order costs besides its products (`shipping`), or costs less (`discount`), by a name that people read.

    `amount` is in minor units and above zero: shipping is added to the total, a discount is taken from it.
    """

    type: AdjustmentType
    name: Annotated[str, plain_line(MAX_ADJUSTMENT_NAME)]
    amount: Annotated[int, whole(1, MAX_AMOUNT)]
