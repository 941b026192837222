"""Products and their stock, as they cross HTTP; prices in minor units."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from api.schemas.fields import Amount, Currency, Request, plain_line, plain_lines, whole
from domain.limits import MAX_DESCRIPTION, MAX_NOTE, MAX_PRODUCT_NAME
from domain.stock import MAX_ON_HAND


class NewProduct(Request, frozen=True, kw_only=True):
    """A product to sell."""

    name: Annotated[str, plain_line(MAX_PRODUCT_NAME)]
    description: Annotated[str, plain_lines(MAX_DESCRIPTION, shortest=0)] = ""
    unit_price: Amount
    currency: Currency


class ProductChanges(Request, frozen=True, kw_only=True):
    """What of a product shall change; what is left out stays. Its currency never changes."""

    name: Annotated[str, plain_line(MAX_PRODUCT_NAME)] | UnsetType = UNSET
    description: Annotated[str, plain_lines(MAX_DESCRIPTION, shortest=0)] | UnsetType = UNSET
    unit_price: Amount | UnsetType = UNSET
    active: Annotated[bool, Meta(description="true or false")] | UnsetType = UNSET


class NewAdjustment(Request, frozen=True, kw_only=True):
    """Units that came or went."""

    delta: Annotated[int, whole(-MAX_ON_HAND, MAX_ON_HAND, but=0)]
    note: Annotated[str, plain_line(MAX_NOTE, shortest=0)] = ""


class Product(Struct, frozen=True, kw_only=True):
    """A product; `unit_price` in minor units."""

    id: str
    name: str
    description: str
    unit_price: int
    currency: str
    active: bool
    created_at: datetime
    updated_at: datetime


class ProductPage(Struct, frozen=True, kw_only=True):
    """Some products; the next page starts at `next_cursor`, null on the last."""

    items: list[Product]
    next_cursor: str | None


class Stock(Struct, frozen=True, kw_only=True):
    """Units of one product; available = on hand - reserved."""

    product_id: str
    on_hand: int
    reserved: int
    available: int
