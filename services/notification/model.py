"""What the notification service works with, and what is computed from that alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from google.protobuf.json_format import Parse

from domain.notifications import Channel, NotificationStatus
from domain.orders import REFUND_FAILED_EVENT, REFUNDED_EVENT, CancelledBy, Reason
from ordersaga.events.v1.order_events_pb2 import OrderTransitioned
from ordersaga.events.v1.user_events_pb2 import UserChanged


class Template(StrEnum):
    """The mails that customers get: each a pair of files in ``templates/``."""

    ORDER_PLACED = "order_placed"
    ORDER_PAID = "order_paid"
    ORDER_FAILED = "order_failed"
    ORDER_CANCELLED = "order_cancelled"
    ORDER_REFUNDED = "order_refunded"
    ORDER_REFUND_FAILED = "order_refund_failed"
    ORDER_LINK = "order_link"
    CONFIRM_EMAIL = "confirm_email"
    RESET_PASSWORD = "reset_password"  # noqa: S105  # a mail, no password
    CHANGE_EMAIL = "change_email"
    EMAIL_CHANGED = "email_changed"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105  # likewise


class DeadLetterStatus(StrEnum):
    """Where a record stands that the consumer refused. Only OPEN moves."""

    OPEN = "OPEN"
    RETRIED = "RETRIED"
    """The consumer took it when a person had it tried again."""
    RESOLVED = "RESOLVED"
    """A person says that nothing has to be done about it any more."""


class LetterAction(StrEnum):
    """What a person can do about a dead letter."""

    RETRY = "RETRY"
    RESOLVE = "RESOLVE"


TEMPLATE_OF: Final[Mapping[str, Template]] = {
    "order.created": Template.ORDER_PLACED,
    "order.paid": Template.ORDER_PAID,
    "order.failed": Template.ORDER_FAILED,
    "order.cancelled": Template.ORDER_CANCELLED,
    REFUNDED_EVENT: Template.ORDER_REFUNDED,
    REFUND_FAILED_EVENT: Template.ORDER_REFUND_FAILED,
}
"""The event types that a customer gets a mail about, one per event. Of the others, such as order.received, none."""
_MONEY_HAD_COME: Final = frozenset({Reason.STOCK_LOST, Reason.PAYMENT_MISMATCH})
_BY_STAFF: Final = frozenset({CancelledBy.SUPPORT, CancelledBy.ADMIN, CancelledBy.OPERATOR})


def concerns_guest(template: Template, order: OrderTransitioned) -> bool:
    """Whether a guest gets the mail.

    Anybody may order in anybody's name. So until somebody has paid, an address gets one mail about an order, which has
    its link, and none about an end that whoever placed it can bring about.
    """
    match template:
        case Template.ORDER_FAILED:
            return order.reason in _MONEY_HAD_COME
        case Template.ORDER_CANCELLED:
            return order.reason in _BY_STAFF
        case _:
            return True


def is_first_to_guest(template: Template, order: OrderTransitioned) -> bool:
    """Whether the mail goes to an address of which nobody knows that it is the guest's: nothing was paid before it."""
    return template is Template.ORDER_PLACED or (template is Template.ORDER_PAID and not order.total)


ACCOUNT_TEMPLATE_OF: Final[Mapping[str, Template]] = {
    "user.confirmation_requested": Template.CONFIRM_EMAIL,
    "user.password_reset_requested": Template.RESET_PASSWORD,
    "user.email_change_requested": Template.CHANGE_EMAIL,
    "user.email_changed": Template.EMAIL_CHANGED,
    "user.password_changed": Template.PASSWORD_CHANGED,
}
"""Likewise of accounts."""
EMAIL_CONFIRMED_EVENT: Final = "user.email_confirmed"
"""What was withheld from an account can go out."""
ABOUT_ACCOUNTS: Final = frozenset(ACCOUNT_TEMPLATE_OF.values())
WITH_LINK: Final = frozenset({Template.CONFIRM_EMAIL, Template.RESET_PASSWORD, Template.CHANGE_EMAIL})
"""The mails whose link is made when they are written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderEvent:
    """An event of an order, as it came in.

    Attributes:
        id: its CloudEvents id.
        seq: its number within the order.
        template: of the mail about it.
        text: `data` as JSON, as it came.
    """

    id: str
    seq: int
    template: Template
    data: OrderTransitioned
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountEvent:
    """An event of an account, as it came in: of ids alone. Attributes as those of an `OrderEvent`."""

    id: str
    template: Template
    data: UserChanged
    text: str


def parse_account_event(text: str) -> UserChanged:
    """The data of an account's event; fields that are newer than we are left out.

    Raises:
        ParseError: it is not the JSON of a UserChanged.
    """
    return Parse(text, UserChanged(), ignore_unknown_fields=True)


def parse_order_event(text: str) -> OrderTransitioned:
    """The data of an order's event; fields that are newer than we are left out.

    Raises:
        ParseError: it is not the JSON of an OrderTransitioned.
    """
    return Parse(text, OrderTransitioned(), ignore_unknown_fields=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenMessage:
    """A message whose text was given.

    Attributes:
        recipient: e-mail address or telephone number (E.164); None for the user's own e-mail address.
        subject: of a mail; empty for an SMS.
    """

    channel: Channel
    user_id: str
    recipient: str | None
    subject: str
    body: str

    @property
    def fingerprint(self) -> bytes:
        """The same for the same message alone."""
        return hashlib.sha256(json.dumps(astuple(self)).encode()).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class DueNotification:
    """A notification that is to be sent.

    Attributes:
        next_seq: the number of our event about it, unless somebody takes it meanwhile.
    """

    id: str
    content: OrderEvent | AccountEvent | WrittenMessage
    next_seq: int
    created_at: datetime

    @property
    def channel(self) -> Channel:
        """How it travels; what is about an order or an account, by mail."""
        return self.content.channel if isinstance(self.content, WrittenMessage) else Channel.EMAIL

    @property
    def user_id(self) -> str:
        """Whom it is for."""
        return self.content.user_id if isinstance(self.content, WrittenMessage) else self.content.data.user_id

    @property
    def order_id(self) -> str | None:
        """The order that it is about, if any."""
        return self.content.data.order_id if isinstance(self.content, OrderEvent) else None

    @property
    def template(self) -> str | None:
        """Of a mail whose text was not given."""
        return None if isinstance(self.content, WrittenMessage) else self.content.template.value

    @property
    def key(self) -> str:
        """What our own events about it are ordered by: its order, or else its user."""
        return self.order_id or self.user_id


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredNotification:
    """What became of a notification.

    Attributes:
        fingerprint: a written message's; None for any other.
        last_error: why the last attempt failed since it was let be due.
        dismissed: who left it alone though it failed, and why.
        follows: whether it waits for an earlier mail of its order.
    """

    status: NotificationStatus
    fingerprint: bytes | None
    last_error: str | None
    dismissed: str | None
    follows: bool

    @property
    def has_ended(self) -> bool:
        """Whether it was tried, in vain or not, or is not to be tried yet."""
        return self.status is not NotificationStatus.PENDING or self.last_error is not None or self.follows
