"""What the notification service talks about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ordersaga.events.v1.order_events_pb2 import OrderTransitioned


class NotificationStatus(StrEnum):
    """What became of a mail. Only PENDING moves."""

    PENDING = "PENDING"
    SENT = "SENT"
    FAILED = "FAILED"


class Template(StrEnum):
    """The mails that customers get: each a pair of files in ``templates/``."""

    ORDER_PLACED = "order_placed"
    ORDER_PAID = "order_paid"
    ORDER_FAILED = "order_failed"
    ORDER_CANCELLED = "order_cancelled"


TEMPLATE_OF: Final[Mapping[str, Template]] = {
    "order.created": Template.ORDER_PLACED,
    "order.paid": Template.ORDER_PAID,
    "order.failed": Template.ORDER_FAILED,
    "order.cancelled": Template.ORDER_CANCELLED,
}
"""The event types that owe the customer a mail. The others, such as order.received, owe none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderEvent:
    """An event of an order, as it came in.

    Attributes:
        id: its CloudEvents id.
        seq: its number within the order.
        template: the mail that tells of it.
    """

    id: str
    seq: int
    template: Template
    data: OrderTransitioned


@dataclass(frozen=True, slots=True, kw_only=True)
class DueMail:
    """A mail that is owed."""

    id: str
    event: OrderEvent
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """Whom a mail goes to: known only while it is sent."""

    name: str
    email: str
