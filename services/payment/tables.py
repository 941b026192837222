"""Tables of the payment database."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Final

from sqlalchemy import BigInteger, CheckConstraint, Index, LargeBinary, Text, Uuid, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from domain.orders import OrderLine
from domain.payments import PaymentStatus
from domain.refunds import DisputeStatus, RefundOrigin, RefundStatus
from runtime.database import service_metadata, timestamp
from runtime.due_work import DueColumns
from runtime.idempotency import IdempotencyKeyColumns, idempotency_key_index
from runtime.outbox import OutboxColumns, RelayLeaseColumns, outbox_index
from runtime.retention import RetentionColumns


class EventStatus(StrEnum):
    """Where a provider event stands: RECEIVED is waiting to be processed, the others are done."""

    RECEIVED = "RECEIVED"
    APPLIED = "APPLIED"
    IGNORED = "IGNORED"
    FLAGGED = "FLAGGED"


def _one_of(column: str, names: type[StrEnum]) -> CheckConstraint:
    listed = ", ".join(f"'{name}'" for name in names)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


SCHEMA: Final = "0014"
"""Revision of the migrations that makes these tables."""


class Base(SQLModel):
    """Every table of this database."""

    metadata = service_metadata()


class PaymentColumns(SQLModel):
    """The columns of a payment that its changes are made of."""

    id: str = Field(sa_type=Uuid(as_uuid=False), primary_key=True)
    order_id: str = Field(sa_type=Uuid(as_uuid=False), unique=True)
    user_id: str | None = Field(default=None, sa_type=Uuid(as_uuid=False))
    placed_by: str | None = Field(default=None, sa_type=Uuid(as_uuid=False))
    """Whose it was before: of a guest's order that an account has adopted, whose saga still names the guest."""
    amount: int = Field(sa_type=BigInteger)
    currency: str = Field(sa_type=Text)
    payment_method: str | None = Field(default=None, sa_type=Text)
    """The one that came with the order; a customer who pays with the client secret may use any other."""
    status: PaymentStatus = Field(sa_type=Text)
    """Of the intent when it was last re-read."""
    intent_id: str | None = Field(default=None, sa_type=Text, unique=True)
    client_secret: bytes | None = Field(default=None, sa_type=LargeBinary)
    """Of the intent, sealed, until nobody can pay with it any more: see `payments.client_secrets`."""
    amount_received: int = Field(default=0, sa_type=BigInteger)
    """In minor units of `currency_received`."""
    currency_received: str | None = Field(default=None, sa_type=Text)
    closing: bool = False
    """Nobody shall pay any more: never confirmed from here on."""
    voided: bool = False
    """What was paid nevertheless goes back."""
    generation: int = 0
    """Part of every idempotency key: a key whose stored answer is no use is followed by the next generation's."""
    generation_at: datetime = timestamp()
    seq: int = Field(sa_type=BigInteger)
    """Number of the payment's last event."""
    version: int = Field(default=0, sa_type=BigInteger)
    """Number of the row's last change, and of every re-read that changed nothing: see `payments.store`."""
    traceparent: str | None = Field(default=None, sa_type=Text)
    """Of the span in which it was opened, while traces are on."""
    created_at: datetime = timestamp()


class PaymentRow(Base, PaymentColumns, table=True):
    """An order's one payment; voided without user and amount is the tombstone of a void that came first."""

    __tablename__ = "payments"
    __table_args__ = (
        _one_of("status", PaymentStatus),
        CheckConstraint("amount >= 0 AND amount_received >= 0", name="amounts"),
        CheckConstraint("closing OR NOT voided", name="voided_is_closing"),
    )

    updated_at: datetime = timestamp()


class AttemptRow(Base, table=True):
    """One failed charge, however it was seen; or a failed authentication, which has none and goes by its event's id."""

    __tablename__ = "payment_attempts"

    charge_id: str = Field(sa_type=Text, primary_key=True)
    payment_id: str = Field(sa_type=Uuid(as_uuid=False), foreign_key="payments.id", index=True)
    decline_code: str | None = Field(default=None, sa_type=Text)
    at: datetime = timestamp()


class FollowUpColumns(SQLModel):
    """The columns of what has a workflow of its own, for as long as something follows from it."""

    version: int = Field(default=1, sa_type=BigInteger)
    """Number of its last change."""
    saga_open: bool = True
    """Whether its workflow has still to do: cleared by the workflow, set by the next change."""
    notified_version: int = Field(default=0, sa_type=BigInteger)
    """The last version that its workflow knows of."""
    created_at: datetime = timestamp()


class RefundColumns(FollowUpColumns):
    """The columns of a refund that its changes are made of."""

    id: str = Field(sa_type=Uuid(as_uuid=False), primary_key=True)
    origin: RefundOrigin = Field(sa_type=Text)
    amount: int = Field(sa_type=BigInteger)
    currency: str = Field(sa_type=Text)
    status: RefundStatus = Field(sa_type=Text)
    stripe_refund_id: str | None = Field(default=None, sa_type=Text, unique=True)
    failure_reason: str | None = Field(default=None, sa_type=Text)
    generation: int = 0
    """Part of the idempotency key, as with payments."""
    restock: tuple[OrderLine, ...] = Field(default=(), sa_type=JSONB)
    """What is put back into stock once the money is given back."""
    restock_id: str = Field(sa_type=Uuid(as_uuid=False))
    """Under which it is put back, once: a refund in the place of another has the other's."""
    requested_by: str | None = Field(default=None, sa_type=Uuid(as_uuid=False))
    """The admin, or member of support, who asked for it."""
    requested_by_support: bool = Field(default=False, sa_column_kwargs={"server_default": "false"})
    """Whether a member of support did."""
    requested_by_operator: str | None = Field(default=None, sa_type=Text)
    """The name of the operator who did, in an admin's place."""
    approved_by: str | None = Field(default=None, sa_type=Text)
    """The second person who approved it, where one had to: see `runtime.caller.Caller.actor`."""
    note: str = Field(default="", sa_type=Text)
    settled_at: datetime | None = timestamp(default=None, nullable=True)
    """When it first succeeded, with order and stock following, or failed; never changed afterwards."""


class FollowedColumns(DueColumns):
    """The columns by which it is followed up."""

    failing_since: datetime | None = timestamp(default=None, nullable=True)
    """When the first attempt failed of those since the last one that did not."""


def _followed_indexes(table: str) -> tuple[Index, Index, Index]:
    return (
        Index(f"ix_{table}_saga_open", "next_attempt_at", postgresql_where="saga_open"),
        Index(f"ix_{table}_open_id", "id", postgresql_where="saga_open"),
        Index(f"ix_{table}_failing", "failing_since", postgresql_where="saga_open AND failing_since IS NOT NULL"),
    )


class RefundRow(Base, RefundColumns, FollowedColumns, table=True):
    """Money of a payment that is given back, or was to be."""

    __tablename__ = "refunds"
    __table_args__ = (
        _one_of("status", RefundStatus),
        _one_of("origin", RefundOrigin),
        CheckConstraint("amount > 0", name="amount"),
        *_followed_indexes("refunds"),
    )

    payment_id: str = Field(sa_type=Uuid(as_uuid=False), foreign_key="payments.id", index=True)
    updated_at: datetime = timestamp()


class RefundApprovalColumns(SQLModel):
    """The columns of an approval."""

    id: str = Field(sa_type=Uuid(as_uuid=False), primary_key=True)
    payment_id: str = Field(sa_type=Uuid(as_uuid=False), foreign_key="payments.id", index=True)
    amount: int = Field(sa_type=BigInteger)
    """The largest refund that may use it."""
    approved_by: str = Field(sa_type=Text)
    """Who gave it, see `runtime.caller.Caller.actor`."""
    approved_by_key: str = Field(sa_type=Uuid(as_uuid=False))
    """Stands for who gave it, and so may not use it: see `runtime.caller.Caller.key`."""
    note: str = Field(default="", sa_type=Text)
    created_at: datetime = timestamp()
    expires_at: datetime = timestamp()
    refund_id: str | None = Field(default=None, sa_type=Uuid(as_uuid=False), foreign_key="refunds.id", unique=True)
    """Which refund used it."""


class RefundApprovalRow(Base, RefundApprovalColumns, table=True):
    """A second person lets money of a payment be given back, once; kept for good, also when nobody used it."""

    __tablename__ = "refund_approvals"
    __table_args__ = (CheckConstraint("amount > 0", name="amount"),)


class DisputeColumns(FollowUpColumns):
    """The columns of a dispute that its changes are made of."""

    id: str = Field(sa_type=Text, primary_key=True)
    """Stripe's."""
    status: DisputeStatus = Field(sa_type=Text)
    reason: str = Field(sa_type=Text)
    amount: int = Field(sa_type=BigInteger)
    currency: str = Field(sa_type=Text)
    withdrawn: int = Field(sa_type=BigInteger)
    """What Stripe holds or took because of it, in minor units."""
    respond_by: datetime | None = timestamp(default=None, nullable=True)


class DisputeRow(Base, DisputeColumns, FollowedColumns, table=True):
    """A customer's dispute with their bank."""

    __tablename__ = "disputes"
    __table_args__ = (
        _one_of("status", DisputeStatus),
        CheckConstraint("amount >= 0 AND withdrawn >= 0", name="amounts"),
        *_followed_indexes("disputes"),
    )

    payment_id: str = Field(sa_type=Uuid(as_uuid=False), foreign_key="payments.id", index=True)
    updated_at: datetime = timestamp()


class PublishedStatusColumns(SQLModel):
    """What one of the payment's own events said of it, in the words of the release that published it."""

    at: datetime = timestamp()
    type: str = Field(sa_type=Text)
    status: str = Field(sa_type=Text)
    refund_id: str | None = Field(default=None, sa_type=Text)
    """Of the refund that the event was about; None where it was about none."""
    dispute_id: str | None = Field(default=None, sa_type=Text)
    dispute_status: str | None = Field(default=None, sa_type=Text)


class PaymentHistoryRow(Base, PublishedStatusColumns, table=True):
    """What is kept of events whose outbox rows are deleted: nothing else says when a payment was in which state."""

    __tablename__ = "payment_history"

    payment_id: str = Field(sa_type=Uuid(as_uuid=False), primary_key=True, foreign_key="payments.id")
    seq: int = Field(sa_type=BigInteger, primary_key=True)


class IdempotencyKeyRow(Base, IdempotencyKeyColumns, table=True):
    """Which refund an admin's key stands for."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (idempotency_key_index(),)


class ProviderEventRow(Base, DueColumns, table=True):
    """The inbox: one row per event of Stripe's that concerns us."""

    __tablename__ = "provider_events"
    __table_args__ = (
        _one_of("status", EventStatus),
        Index("ix_provider_events_due", "next_attempt_at", postgresql_where="status = 'RECEIVED'"),
        Index("ix_provider_events_waiting", "received_at", postgresql_where="status = 'RECEIVED' AND attempts > 1"),
        Index("ix_provider_events_flagged", "processed_at", postgresql_where="status = 'FLAGGED'"),
        Index("ix_provider_events_done", "processed_at", postgresql_where="status IN ('APPLIED', 'IGNORED')"),
    )

    event_id: str = Field(sa_type=Text, primary_key=True)
    type: str = Field(sa_type=Text)
    intent_id: str | None = Field(default=None, sa_type=Text, index=True)
    order_id: str | None = Field(default=None, sa_type=Uuid(as_uuid=False), index=True)
    received_at: datetime = timestamp()
    status: EventStatus = Field(sa_type=Text)
    is_failed_authentication: bool = Field(default=False, sa_column_kwargs={"server_default": "false"})
    """Whether it is of an attempt to pay that has no charge: its customer failed at their bank."""
    note: str = Field(sa_type=Text)
    """Why it ended as it did, in words; may be empty."""
    processed_at: datetime | None = timestamp(default=None, nullable=True)


class SweepRow(Base, DueColumns, table=True):
    """One row: up to which of its own times Stripe's list of events has been read, and when it is read on."""

    __tablename__ = "event_sweep"

    name: str = Field(primary_key=True, sa_type=Text)
    swept_until: datetime = timestamp()
    attempts: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    next_attempt_at: datetime = timestamp(sa_column_kwargs={"server_default": func.now()})


class Outbox(Base, OutboxColumns, table=True):
    """Events of this database, see `runtime.outbox`."""

    __table_args__ = (outbox_index(),)


class RelayLease(Base, RelayLeaseColumns, table=True):
    """Which relay publishes this database's outbox, see `runtime.outbox`."""

    __tablename__ = "relay_lease"


class RetentionRow(Base, RetentionColumns, table=True):
    """How far what is old was deleted, see `runtime.retention`."""

    __tablename__ = "retention"
