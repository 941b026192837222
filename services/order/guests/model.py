"""What is known of guests."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from domain.orders import OrderStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestToken:
    """What lets a guest read and cancel their order."""

    text: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestOfOrder:
    """Who placed an order as a guest, for a mail that is being written.

    Attributes:
        email: empty once they were erased, or the order was adopted.
        name: empty unless they gave one.
        token: for the mail's link; empty where none may be given out any more.
        user_id: the account that has adopted the order; empty where none has.
    """

    email: str = ""
    name: str = ""
    token: str = field(default="", repr=False)
    user_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestHistory:
    """What has become of whoever placed an order as a guest, and who wanted them erased."""

    adopted_at: datetime | None
    erased_at: datetime | None
    erased_by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestOrder:
    """A guest's order, as it stands when an account is looked for that has the address."""

    order_id: str
    email: str
    status: OrderStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestLinkRequest:
    """Somebody has lost the link to an order, or says so."""

    order_number: str
    email: str
