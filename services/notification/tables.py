"""Tables of the notification database: the one list of each table's columns, which values and statements are made of.

A customer's e-mail address is not stored: it is asked for when a mail is sent. An address or number that came with a
message is forgotten, and its text with it, once the message is sent or has failed.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Integer, LargeBinary, Text, Uuid
from sqlmodel import Field, SQLModel, UniqueConstraint

from domain.notifications import Channel, NotificationStatus
from runtime.database import service_metadata, timestamp
from runtime.due_work import DueColumns
from runtime.outbox import OutboxColumns, RelayLeaseColumns, outbox_index
from runtime.retention import RetentionColumns
from services.notification.model import DeadLetterStatus, LetterAction, Template

SCHEMA: Final = "0007"
"""Revision of the migrations that makes these tables."""


class Base(SQLModel):
    """Every table of this database."""

    metadata = service_metadata()


class InboxRow(Base, table=True):
    """Events that have had their effect; one that comes again has none."""

    __tablename__ = "inbox"
    __table_args__ = (Index("ix_inbox_received_at", "received_at"),)

    ce_id: str = Field(sa_type=Text, primary_key=True)
    received_at: datetime = timestamp()


class NotificationRow(Base, DueColumns, table=True):
    """A message to a user, and what became of it: it is due until it is sent or has failed.

    It is a mail about an order or an account, which an event caused, or a message whose text was given.
    """

    __tablename__ = "notifications"
    __table_args__ = (
        CheckConstraint("status IN ('PENDING', 'SENT', 'FAILED')", name="status"),
        CheckConstraint("channel IN ('email', 'sms')", name="channel"),
        CheckConstraint("num_nonnulls(template, ce_id) IN (0, 2)", name="event_mail"),
        CheckConstraint("num_nonnulls(order_id, order_seq) IN (0, 2)", name="order_mail"),
        CheckConstraint("order_id IS NULL OR template IS NOT NULL", name="about_order"),
        CheckConstraint("(template IS NULL) = (fingerprint IS NOT NULL)", name="written"),
        CheckConstraint(
            "CASE WHEN template IS NULL THEN event IS NULL ELSE event IS NOT NULL OR status = 'SENT' END",
            name="made_from",
        ),
        CheckConstraint("status = 'PENDING' OR num_nonnulls(recipient, subject, body) = 0", name="forgotten"),
        UniqueConstraint("order_id", "seq"),
        Index("uq_notifications_user_id_seq", "user_id", "seq", unique=True, postgresql_where="order_id IS NULL"),
        Index("ix_notifications_due", "next_attempt_at", postgresql_where="status = 'PENDING'"),
        Index("ix_notifications_waiting", "created_at", postgresql_where="status = 'PENDING'"),
        Index("ix_notifications_failed", "created_at", postgresql_where="status = 'FAILED' AND dismissed IS NULL"),
        Index("ix_notifications_said", "sent_at", postgresql_where="status = 'SENT' AND event IS NOT NULL"),
        Index("ix_notifications_withheld", "user_id", postgresql_where="status = 'PENDING' AND withheld"),
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
    """The event's data as JSON, as it came: ids and amounts. Forgotten when the mail is sent."""
    withheld: bool = Field(default=False, sa_column_kwargs={"server_default": "false"})
    """Whether it waited, when it was to be sent last, for the user to confirm their address."""
    status: NotificationStatus = Field(sa_type=Text)
    created_at: datetime = timestamp()
    sent_at: datetime | None = timestamp(default=None, nullable=True)
    failed_at: datetime | None = timestamp(default=None, nullable=True)
    """When it was given up last; NULL also where that was before this was kept."""
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


class DeadLetterColumns(SQLModel):
    """A record that the consumer refused, as `runtime.dead_letters.DeadLetter` describes it."""

    id: str = Field(sa_type=Uuid(as_uuid=False), primary_key=True)
    """Rises from each to the next."""
    topic: str = Field(sa_type=Text)
    partition: int = Field(sa_type=Integer)
    record_offset: int = Field(sa_type=BigInteger)
    recorded_at: datetime = timestamp()
    key: bytes | None = Field(default=None, sa_type=LargeBinary)
    value: bytes | None = Field(default=None, sa_type=LargeBinary)
    headers: str = Field(sa_type=Text)
    """JSON: an array of a name and a value in base64, or null, each."""
    consumer: str = Field(sa_type=Text)
    reason: str = Field(sa_type=Text)
    error: str = Field(sa_type=Text)
    refused_at: datetime = timestamp()
    status: DeadLetterStatus = Field(sa_type=Text)
    closed_at: datetime | None = timestamp(default=None, nullable=True)
    """When a person was done with it."""


class DeadLetterRow(Base, DeadLetterColumns, table=True):
    """What waits for a person, until a retry works or somebody says that it needs none."""

    __tablename__ = "dead_letters"
    __table_args__ = (
        CheckConstraint("status IN ('OPEN', 'RETRIED', 'RESOLVED')", name="status"),
        CheckConstraint("(status = 'OPEN') = (closed_at IS NULL)", name="closed"),
        UniqueConstraint("topic", "partition", "record_offset", "recorded_at"),
        Index("ix_dead_letters_open", "id", postgresql_where="status = 'OPEN'"),
        Index("ix_dead_letters_closed", "closed_at", postgresql_where="status <> 'OPEN'"),
    )


class DeadLetterActionRow(Base, table=True):
    """What a person did about a dead letter, and why."""

    __tablename__ = "dead_letter_actions"
    __table_args__ = (
        CheckConstraint("action IN ('RETRY', 'RESOLVE')", name="action"),
        Index("ix_dead_letter_actions_dead_letter_id", "dead_letter_id"),
    )

    id: str = Field(sa_type=Uuid(as_uuid=False), primary_key=True)
    dead_letter_id: str = Field(sa_type=Uuid(as_uuid=False), sa_column_args=[ForeignKey("dead_letters.id")])
    action: LetterAction = Field(sa_type=Text)
    actor: str = Field(sa_type=Text)
    """`runtime.caller.Caller.actor`."""
    note: str = Field(sa_type=Text)
    refusal: str = Field(sa_type=Text)
    """Why the consumer refused the record again; empty if it did not."""
    at: datetime = timestamp()


class Outbox(Base, OutboxColumns, table=True):
    """Events of this database, see `runtime.outbox`."""

    __table_args__ = (outbox_index(),)


class RelayLease(Base, RelayLeaseColumns, table=True):
    """Which relay publishes this database's outbox, see `runtime.outbox`."""

    __tablename__ = "relay_lease"


class RetentionRow(Base, RetentionColumns, table=True):
    """How far what is old was deleted, see `runtime.retention`."""

    __tablename__ = "retention"
