"""What crosses HTTP: request bodies and answers. Money is whole minor units of an ISO 4217 currency."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from domain.money import EXPONENTS, MAX_AMOUNT
from domain.orders import (
    DEFAULT_PAYMENT_WINDOW_SECONDS,
    MAX_LINES,
    MAX_PAYMENT_WINDOW_SECONDS,
    MAX_QUANTITY,
    OrderStatus,
)
from domain.stock import MAX_ON_HAND


def _text(longest: int, *, shortest: int = 1) -> Meta:
    # no NUL, which PostgreSQL cannot store
    return Meta(
        min_length=shortest,
        max_length=longest,
        pattern=r"^[^\x00]*$",
        description=f"text of {shortest} to {longest} characters, none of them NUL",
    )


def _whole(smallest: int, largest: int) -> Meta:
    return Meta(ge=smallest, le=largest, description=f"a whole number from {smallest} to {largest}")


Id = Annotated[
    str,
    Meta(
        pattern="^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
        max_length=36,  # a $ alone would let a line feed pass behind it
        description="a UUID in lower case with hyphens",
        examples=["01932b5e-7c1a-7e4e-9c3d-2f6d1b8a4c55"],
    ),
]
Email = Annotated[
    str,
    Meta(
        pattern=r"^[^@\s\x00]+@[^@\s\x00]+\.[^@\s\x00]+$",
        max_length=254,
        description="an e-mail address of at most 254 characters",
        examples=["customer@example.test"],
    ),
]
Currency = Annotated[
    str,
    Meta(
        pattern=f"^({'|'.join(sorted(EXPONENTS))})$",
        max_length=3,
        description="an ISO 4217 currency code in capitals, for example EUR",
        examples=["EUR"],
    ),
]
Country = Annotated[
    str,
    Meta(
        pattern="^[A-Z]{2}$",
        max_length=2,
        description="an ISO 3166-1 alpha-2 country code in capitals, for example DE",
        examples=["DE"],
    ),
]
Amount = Annotated[int, _whole(0, MAX_AMOUNT)]


class Request(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request body; a field that it does not have is refused."""


class NewUser(Request, frozen=True, kw_only=True):
    """An account to open."""

    email: Email
    password: Annotated[str, _text(128, shortest=8)]
    name: Annotated[str, _text(100)]


class Credentials(Request, frozen=True, kw_only=True):
    """What a token is traded for."""

    email: Annotated[str, _text(254)]
    password: Annotated[str, _text(128)]


class NewProduct(Request, frozen=True, kw_only=True):
    """A product to sell."""

    name: Annotated[str, _text(200)]
    description: Annotated[str, _text(5_000, shortest=0)] = ""
    unit_price: Amount
    currency: Currency


class NewAdjustment(Request, frozen=True, kw_only=True):
    """Pieces that came or went. With an `adjustment_id` of one's own the request may be repeated safely."""

    delta: Annotated[int, _whole(-MAX_ON_HAND, MAX_ON_HAND)]
    note: Annotated[str, _text(500, shortest=0)] = ""
    adjustment_id: Id | None = None


class Line(Request, frozen=True, kw_only=True):
    """So many pieces of one product."""

    product_id: Id
    quantity: Annotated[int, _whole(1, MAX_QUANTITY)]


class Address(Request, frozen=True, kw_only=True):
    """A postal address."""

    name: Annotated[str, _text(200)]
    line1: Annotated[str, _text(200)]
    line2: Annotated[str, _text(200)] | None = None
    city: Annotated[str, _text(100)]
    postal_code: Annotated[str, _text(20)]
    country: Country


class NewOrder(Request, frozen=True, kw_only=True):
    """An order to place. Lines of the same product count as one."""

    lines: Annotated[
        list[Line], Meta(min_length=1, max_length=MAX_LINES, description=f"a list of 1 to {MAX_LINES} lines")
    ]
    currency: Currency
    shipping_address: Address
    payment_method: Annotated[str, _text(255)] | None = None
    expected_total: Amount | None = None
    payment_window_seconds: Annotated[int, _whole(1, MAX_PAYMENT_WINDOW_SECONDS)] = DEFAULT_PAYMENT_WINDOW_SECONDS


class User(Struct, frozen=True, kw_only=True):
    """An account."""

    id: str
    email: str
    name: str
    role: Literal["customer", "admin"]
    created_at: datetime


class Token(Struct, frozen=True, kw_only=True):
    """An access token: send it as ``Authorization: Bearer …`` until it expires."""

    access_token: str
    token_type: str
    expires_at: datetime
    user: User


class Product(Struct, frozen=True, kw_only=True):
    """A product; `unit_price` in minor units."""

    id: str
    name: str
    description: str
    unit_price: int
    currency: str
    active: bool
    created_at: datetime


class ProductPage(Struct, frozen=True, kw_only=True):
    """Some products; the next page starts at `next_cursor`, null on the last."""

    items: list[Product]
    next_cursor: str | None


class Stock(Struct, frozen=True, kw_only=True):
    """Pieces of one product; available = on hand - reserved."""

    product_id: str
    on_hand: int
    reserved: int
    available: int


class Item(Struct, frozen=True, kw_only=True):
    """One line of an order; `unit_price` in minor units, null until the order is priced."""

    product_id: str
    quantity: int
    unit_price: int | None


class Transition(Struct, frozen=True, kw_only=True, rename={"from_status": "from", "to_status": "to"}):
    """One arrow of an order's history; `seq` is gapless from 1, `from` null in the first."""

    seq: int
    from_status: OrderStatus | None
    to_status: OrderStatus
    reason: str | None
    at: datetime


class Order(Struct, frozen=True, kw_only=True):
    """An order as it stands, with its history.

    `reason` says why it is FAILED or who CANCELLED it. `total` is in minor units, null until the order is priced.
    `client_secret` lets its owner's browser pay while it is PENDING; null otherwise.
    """

    id: str
    status: OrderStatus
    reason: str | None
    currency: str
    total: int | None
    items: list[Item]
    shipping_address: Address
    created_at: datetime
    payment_deadline: datetime | None
    payment_id: str | None
    client_secret: str | None
    transitions: list[Transition]


class Nothing(Struct, frozen=True):
    """An empty object: all is well."""
