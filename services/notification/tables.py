"""Tables of the notification database. No e-mail address is stored: it is asked for when a mail is sent."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, Index, Text, Uuid
from sqlmodel import Field, SQLModel, UniqueConstraint

from runtime.database import service_metadata, timestamp
from runtime.outbox import OutboxColumns, RelayLeaseColumns, outbox_index
from services.notification.model import NotificationStatus, Template


class Base(SQLModel):
    """Every table of this database."""

    metadata = service_metadata()


class Inbox(Base, table=True):
    """Events that have had their effect; one that comes again has none."""

    ce_id: str = Field(sa_type=Text, primary_key=True)
    received_at: datetime = timestamp()


class Notification(Base, table=True):
    """A mail that is owed to a customer, and what became of it: this table is the sender's queue."""

    __tablename__ = "notifications"
    __table_args__ = (
        CheckConstraint("status IN ('PENDING', 'SENT', 'FAILED')", name="status"),
        UniqueConstraint("order_id", "seq"),
        Index("ix_notifications_due", "next_attempt_at", postgresql_where="status = 'PENDING'"),
        Index("ix_notifications_order_id_order_seq", "order_id", "order_seq"),
    )

    id: str = Field(sa_type=Uuid(as_uuid=False), primary_key=True)
    order_id: str = Field(sa_type=Uuid(as_uuid=False))
    user_id: str = Field(sa_type=Uuid(as_uuid=False))
    template: Template = Field(sa_type=Text)
    ce_id: str = Field(sa_type=Text, unique=True)
    """The event that the mail tells of: one mail per event."""
    order_seq: int = Field(sa_type=BigInteger)
    """That event's number within its order; an order's mails go out in this order."""
    event: str = Field(sa_type=Text)
    """The event's data as JSON: ids and amounts."""
    status: NotificationStatus = Field(sa_type=Text)
    attempts: int = 0
    next_attempt_at: datetime = timestamp()
    last_error: str | None = Field(default=None, sa_type=Text)
    created_at: datetime = timestamp()
    sent_at: datetime | None = timestamp(default=None, nullable=True)
    seq: int | None = Field(default=None, sa_type=BigInteger)
    """Number of our own event about it, gapless per order; set when the mail is SENT or FAILED."""


class Outbox(Base, OutboxColumns, table=True):
    """Events of this database, see `runtime.outbox`."""

    __table_args__ = (outbox_index(),)


class RelayLease(Base, RelayLeaseColumns, table=True):
    """Which relay publishes this database's outbox, see `runtime.outbox`."""

    __tablename__ = "relay_lease"
