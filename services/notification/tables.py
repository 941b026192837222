"""Tables of the notification database: the one list of each table's columns, which values and statements are made of.

A customer's e-mail address is not stored: it is asked for when a mail is sent. An address or number that came with a
message is forgotten, and its text with it, once the message is sent or has failed.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import BigInteger, CheckConstraint, Index, LargeBinary, Text, Uuid
from sqlmodel import Field, SQLModel, UniqueConstraint

from domain.notifications import Channel, NotificationStatus
from runtime.database import service_metadata, timestamp
from runtime.due_work import DueColumns
from runtime.outbox import OutboxColumns, RelayLeaseColumns, outbox_index
from services.notification.model import Template

SCHEMA: Final = "0004"
"""Revision of the migrations that makes these tables."""


class Base(SQLModel):
    """Every table of this database."""

    metadata = service_metadata()


class InboxRow(Base, table=True):
    """Events that have had their effect; one that comes again has none."""

    __tablename__ = "inbox"

    ce_id: str = Field(sa_type=Text, primary_key=True)
    received_at: datetime = timestamp()


class NotificationRow(Base, DueColumns, table=True):
    """A message to a user, and what became of it: it is due until it is sent or has failed.

    It is either a mail about an order, which an event caused, or a message whose text was given, which has no order.
    """

    __tablename__ = "notifications"
    __table_args__ = (
        CheckConstraint("status IN ('PENDING', 'SENT', 'FAILED')", name="status"),
        CheckConstraint("channel IN ('email', 'sms')", name="channel"),
        CheckConstraint("num_nonnulls(order_id, template, ce_id, order_seq, event) IN (0, 5)", name="order_mail"),
        CheckConstraint("(order_id IS NULL) = (fingerprint IS NOT NULL)", name="written"),
        CheckConstraint("status = 'PENDING' OR num_nonnulls(recipient, subject, body) = 0", name="forgotten"),
        UniqueConstraint("order_id", "seq"),
        Index("uq_notifications_user_id_seq", "user_id", "seq", unique=True, postgresql_where="order_id IS NULL"),
        Index("ix_notifications_due", "next_attempt_at", postgresql_where="status = 'PENDING'"),
        Index("ix_notifications_waiting", "created_at", postgresql_where="status = 'PENDING'"),
        Index("ix_notifications_failed", "created_at", postgresql_where="status = 'FAILED' AND dismissed IS NULL"),
        Index("ix_notifications_order_id_order_seq", "order_id", "order_seq"),
    )

    id: str = Field(sa_type=Uuid(as_uuid=False), primary_key=True)
    order_id: str | None = Field(default=None, sa_type=Uuid(as_uuid=False))
    user_id: str = Field(sa_type=Uuid(as_uuid=False))
    template: Template | None = Field(default=None, sa_type=Text)
    ce_id: str | None = Field(default=None, sa_type=Text, unique=True)
    """The event that the mail is about: one mail per event."""
    order_seq: int | None = Field(default=None, sa_type=BigInteger)
    """That event's number within its order; an order's mails go out in this order."""
    event: str | None = Field(default=None, sa_type=Text)
    """The event's data as JSON, as it came: ids and amounts."""
    status: NotificationStatus = Field(sa_type=Text)
    created_at: datetime = timestamp()
    sent_at: datetime | None = timestamp(default=None, nullable=True)
    seq: int | None = Field(default=None, sa_type=BigInteger)
    """Number of our own event about it, gapless per order, or per user for what has no order; set at its end, and kept
    while one that FAILED is tried again."""
    channel: Channel = Field(sa_type=Text)
    recipient: str | None = Field(default=None, sa_type=Text)
    """The address or number that came with the message; NULL: the user's own address, or it is forgotten."""
    subject: str | None = Field(default=None, sa_type=Text)
    body: str | None = Field(default=None, sa_type=Text)
    fingerprint: bytes | None = Field(default=None, sa_type=LargeBinary)
    """What the message was, as a digest, which sets a repeat apart from another message with the same id."""
    dismissed: str | None = Field(default=None, sa_type=Text)
    """Who left it alone though it failed, and why."""


class Outbox(Base, OutboxColumns, table=True):
    """Events of this database, see `runtime.outbox`."""

    __table_args__ = (outbox_index(),)


class RelayLease(Base, RelayLeaseColumns, table=True):
    """Which relay publishes this database's outbox, see `runtime.outbox`."""

    __tablename__ = "relay_lease"
