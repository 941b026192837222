"""Orders without an account, as they cross HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

from api.schemas.fields import Email, Request, plain_line, text
from api.schemas.orders import Order, OrderContent
from domain.emails import MAX_EMAIL
from domain.limits import MAX_USER_NAME
from domain.order_numbers import WRITTEN


class NewGuestOrder(OrderContent, frozen=True, kw_only=True):
    """An order to place without an account.

    Mails about it go to `email`, the first of which has the link by which the order can be followed. `adjustments`, its
    shipping and discounts, are for the shop's back end alone, and an empty list, too; the rest is as in `NewOrder`.
    """

    email: Email
    name: Annotated[str, plain_line(MAX_USER_NAME)] | None = None


class PlacedGuestOrder(Struct, frozen=True, kw_only=True):
    """An order that was placed without an account, and the token with which it is read and cancelled.

    The token goes where an access token goes, and is good for this order alone, until `expires_at`. Both are null while
    none can be made, or once an account has adopted the order.
    """

    order: Order
    access_token: str | None
    expires_at: datetime | None


class GuestLinkRequest(Request, frozen=True, kw_only=True):
    """Which order's link is lost, and the address that was given with the order."""

    number: Annotated[
        str,
        Meta(
            pattern=f"^{WRITTEN}$",
            max_length=15,
            description="an order's number, however it is written",
            examples=["7KQ2-M9XD"],
        ),
    ]
    email: Annotated[str, text(MAX_EMAIL)]
