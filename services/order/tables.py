"""Tables of the order database: the one list of each table's columns, which values and statements are made of."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import BigInteger, CheckConstraint, Identity, Index, Text, UniqueConstraint, Uuid, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from domain.concerns import ConcernKind
from domain.orders import AdjustmentType, CancelledBy, OrderStatus
from runtime.database import service_metadata, timestamp
from runtime.due_work import DueColumns
from runtime.idempotency import IdempotencyKeyColumns, idempotency_key_index
from runtime.outbox import OutboxColumns, RelayLeaseColumns, outbox_index
from runtime.retention import RetentionColumns

_STATUSES = ", ".join(f"'{status}'" for status in OrderStatus)
_ADJUSTMENT_TYPES = ", ".join(f"'{kind}'" for kind in AdjustmentType)
_KINDS = ", ".join(f"'{kind}'" for kind in ConcernKind)


SCHEMA: Final = "0016"
"""Revision of the migrations that makes these tables."""


class Base(SQLModel):
    """Every table of this database."""

    metadata = service_metadata()


class CustomerColumns(SQLModel):
    """Whose order it is, and in which currency."""

    user_id: str = Field(sa_type=Uuid(as_uuid=False))
    currency: str = Field(sa_type=Text)


class OrderColumns(CustomerColumns):
    """An order as it stands."""

    id: str = Field(sa_type=Uuid(as_uuid=False), primary_key=True)
    number: str = Field(sa_type=Text, unique=True)
    """What people call it, see `domain.order_numbers`."""
    status: OrderStatus = Field(sa_type=Text)
    reason: str | None = Field(default=None, sa_type=Text)
    """Why it is FAILED, or who CANCELLED it."""
    total: int | None = Field(default=None, sa_type=BigInteger)
    """Minor units, once it is priced."""
    refunded: int = Field(default=0, sa_type=BigInteger)
    """Minor units refunded so far: the sum of its succeeded `order_refunds`."""
    payment_id: str | None = Field(default=None, sa_type=Uuid(as_uuid=False))
    payment_deadline: datetime | None = timestamp(default=None, nullable=True)
    created_at: datetime = timestamp()


class RequestColumns(CustomerColumns):
    """What else its customer asked for: kept so that its saga can be started at any time."""

    payment_method: str | None = Field(default=None, sa_type=Text)
    expected_total: int | None = Field(default=None, sa_type=BigInteger)
    payment_window_seconds: int


class VersionColumns(SQLModel):
    """Which version of an order it is."""

    seq: int
    """Number of the order's last transition."""
    updated_at: datetime = timestamp()


class OrderRow(Base, OrderColumns, RequestColumns, VersionColumns, DueColumns, table=True):
    """An order. It is due for a start of its saga until it has left RECEIVED, or is known to have a workflow."""

    __tablename__ = "orders"
    __table_args__ = (
        CheckConstraint(f"status IN ({_STATUSES})", name="status"),
        Index(
            "ix_orders_unstarted", "next_attempt_at", postgresql_where="status = 'RECEIVED' AND saga_seen_at IS NULL"
        ),
        Index("ix_orders_open", "id", postgresql_where="status IN ('RECEIVED', 'PENDING')"),
        Index("ix_orders_user_id_id", "user_id", "id"),
        Index("ix_orders_status_id", "status", "id"),
        Index("ix_orders_user_id_status_id", "user_id", "status", "id"),
        Index("ix_orders_held", "user_id", postgresql_where="status IN ('RECEIVED', 'PENDING')"),
    )

    shipping_address: dict[str, str] = Field(sa_type=JSONB)
    shop_metadata: dict[str, str] = Field(
        default_factory=dict, sa_type=JSONB, sa_column_kwargs={"server_default": text("'{}'")}
    )
    """What the shop keeps with it; nothing of ours reads it."""
    saga_seen_at: datetime | None = timestamp(default=None, nullable=True)
    """When the order was found to have a workflow; most orders leave RECEIVED before anybody has to look."""
    moved_at: datetime = timestamp(sa_column_kwargs={"server_default": func.now()})
    """Of its last transition, by PostgreSQL's own clock, by which the watcher looks; all else is by the service's."""


class OfOrder(SQLModel):
    """A row that belongs to an order."""

    order_id: str = Field(sa_type=Uuid(as_uuid=False), primary_key=True, foreign_key="orders.id")


class ItemColumns(SQLModel):
    """A quantity of one product, with its price in minor units and its name once the order is priced."""

    product_id: str = Field(sa_type=Uuid(as_uuid=False), primary_key=True)
    quantity: int
    unit_price: int | None = Field(default=None, sa_type=BigInteger)
    name: str | None = Field(default=None, sa_type=Text)


class OrderItemRow(Base, ItemColumns, OfOrder, table=True):
    """A line of an order."""

    __tablename__ = "order_items"
    __table_args__ = (CheckConstraint("quantity > 0", name="quantity"),)

    position: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    """Where the customer named it, from 0; all 0 in orders from before this was kept."""


class AdjustmentColumns(SQLModel):
    """What an order costs, or costs less, besides its products, see `domain.orders.PriceAdjustment`."""

    type: AdjustmentType = Field(sa_type=Text)
    name: str = Field(sa_type=Text)
    amount: int = Field(sa_type=BigInteger)


class OrderAdjustmentRow(Base, AdjustmentColumns, OfOrder, table=True):
    """An adjustment of an order."""

    __tablename__ = "order_adjustments"
    __table_args__ = (
        CheckConstraint(f"type IN ({_ADJUSTMENT_TYPES})", name="type"),
        CheckConstraint("amount > 0", name="amount"),
    )

    position: int = Field(primary_key=True)
    """Where the shop named it, from 0."""


class GuestRow(Base, OfOrder, DueColumns, table=True):
    """Who placed an order without an account.

    It is due once for a look whether an account has the address, and again when one is confirmed: the account then
    adopts the order. Of who was adopted or erased only that is left.
    """

    __tablename__ = "guests"
    __table_args__ = (
        CheckConstraint("email IS NULL OR num_nonnulls(adopted_at, erased_at) = 0", name="forgotten"),
        Index("ix_guests_lower_email", text("lower(email)"), postgresql_where="email IS NOT NULL"),
        Index("ix_guests_due", "next_attempt_at", postgresql_where="email IS NOT NULL AND looked_at IS NULL"),
    )

    email: str | None = Field(default=None, sa_type=Text)
    """As it was given."""
    name: str = Field(sa_type=Text)
    looked_at: datetime | None = timestamp(default=None, nullable=True)
    """When no account had the address."""
    adopted_at: datetime | None = timestamp(default=None, nullable=True)
    erased_at: datetime | None = timestamp(default=None, nullable=True)
    erased_by: str | None = Field(default=None, sa_type=Text)
    """Themselves, or a member of staff, see `runtime.caller.Caller.actor`."""


class GuestLinkRequestRow(Base, DueColumns, table=True):
    """Somebody says that they have lost the link to their order; whether it is theirs is looked up later, so that the
    answer takes the same time."""

    __tablename__ = "guest_link_requests"
    __table_args__ = (
        Index("uq_guest_link_requests", "order_number", text("lower(email)"), unique=True),
        Index("ix_guest_link_requests_due", "next_attempt_at"),
    )

    id: str = Field(sa_type=Uuid(as_uuid=False), primary_key=True)
    order_number: str = Field(sa_type=Text)
    email: str = Field(sa_type=Text)


class TransitionColumns(SQLModel):
    """One arrow of an order's history, gapless from 1."""

    seq: int = Field(primary_key=True)
    from_status: OrderStatus | None = Field(default=None, sa_type=Text)
    to_status: OrderStatus = Field(sa_type=Text)
    reason: str | None = Field(default=None, sa_type=Text)
    at: datetime = timestamp()


class OrderTransitionRow(Base, TransitionColumns, OfOrder, table=True):
    """A transition, and the step that caused it: a repeat of that step is this transition."""

    __tablename__ = "order_transitions"
    __table_args__ = (UniqueConstraint("order_id", "cause_id"),)

    cause_id: str = Field(sa_type=Text)


class OrderRefundColumns(SQLModel):
    """The last update of a refund that its order has."""

    refund_id: str = Field(sa_type=Uuid(as_uuid=False), primary_key=True)
    order_id: str = Field(sa_type=Uuid(as_uuid=False), foreign_key="orders.id", index=True)
    amount: int = Field(sa_type=BigInteger)
    """Minor units of the order's currency; never changes."""
    succeeded: bool
    """Whether the money went back to the customer; a refund that the order knows nothing of counts as one that failed.
    """
    version: int = Field(sa_type=BigInteger)
    """Number of the refund's change; an older one changes nothing any more."""


class OrderRefundRow(Base, OrderRefundColumns, table=True):
    """See `OrderRefundColumns`."""

    __tablename__ = "order_refunds"
    __table_args__ = (CheckConstraint("amount > 0", name="amount"),)


class ConcernColumns(SQLModel):
    """Something that needs a person; see `runtime.on_call.Concern`."""

    kind: ConcernKind = Field(sa_type=Text)
    subject_id: str = Field(sa_type=Text)
    step: str = Field(sa_type=Text)
    order_id: str | None = Field(default=None, sa_type=Uuid(as_uuid=False), index=True)
    cause: str = Field(sa_type=Text)
    since: datetime = timestamp()
    attempts: int = 0
    last_error: str | None = Field(default=None, sa_type=Text)


class ConcernRow(Base, ConcernColumns, table=True):
    """What needs a person until it is cleared, and what did: who raised it, who cleared it, and when."""

    __tablename__ = "concerns"
    __table_args__ = (
        CheckConstraint(f"kind IN ({_KINDS})", name="kind"),
        Index("uq_concerns_open", "kind", "subject_id", "step", unique=True, postgresql_where="cleared_at IS NULL"),
        Index("ix_concerns_open", "id", postgresql_where="cleared_at IS NULL"),
        Index("ix_concerns_subject_id", "subject_id"),
    )

    id: int | None = Field(default=None, sa_type=BigInteger, primary_key=True, sa_column_args=[Identity(always=True)])
    raised_by: str = Field(sa_type=Text)
    """``saga``, ``watcher``, or the part whose tables say so."""
    raised_at: datetime = timestamp()
    updated_at: datetime = timestamp()
    cleared_at: datetime | None = timestamp(default=None, nullable=True)
    cleared_by: str | None = Field(default=None, sa_type=Text)
    """One of those, or the operator."""


class ActionRow(Base, table=True):
    """What an operator did, or had the watcher do, about an order, refund, …: never changed."""

    __tablename__ = "actions"
    __table_args__ = (CheckConstraint(f"kind IN ({_KINDS})", name="kind"),)

    id: int | None = Field(default=None, sa_type=BigInteger, primary_key=True, sa_column_args=[Identity(always=True)])
    at: datetime = timestamp()
    actor: str = Field(sa_type=Text)
    action: str = Field(sa_type=Text)
    kind: ConcernKind = Field(sa_type=Text)
    subject_id: str = Field(sa_type=Text, index=True)
    order_id: str | None = Field(default=None, sa_type=Uuid(as_uuid=False), index=True)
    note: str = Field(sa_type=Text)
    outcome: str = Field(sa_type=Text)
    """In words."""


class LookRow(Base, DueColumns, table=True):
    """Something that the watcher looks at from time to time, a batch at a time: one process at once does."""

    __tablename__ = "looks"

    name: str = Field(sa_type=Text, primary_key=True)
    after: str | None = Field(default=None, sa_type=Text)
    """Behind which row the next batch begins; NULL for the first."""


class CancellationRequestColumns(OfOrder):
    """Somebody wants an order cancelled."""

    cancelled_by: CancelledBy = Field(sa_type=Text)
    user_id: str | None = Field(default=None, sa_type=Uuid(as_uuid=False))
    """The user; NULL for an operator."""
    operator: str | None = Field(default=None, sa_type=Text)
    """The operator's name."""
    note: str = Field(sa_type=Text)


class CancellationRequestRow(Base, CancellationRequestColumns, DueColumns, table=True):
    """The first request to cancel an order. Its saga is asked again until the order has closed, however it has."""

    __tablename__ = "cancellation_requests"
    __table_args__ = (
        CheckConstraint("cancelled_by IN ('CUSTOMER', 'SUPPORT', 'ADMIN', 'OPERATOR')", name="cancelled_by"),
        CheckConstraint("(user_id IS NULL) = (operator IS NOT NULL)", name="somebody"),
        Index("ix_cancellation_requests_open", "next_attempt_at", postgresql_where="settled_at IS NULL"),
    )

    requested_at: datetime = timestamp()
    settled_at: datetime | None = timestamp(default=None, nullable=True)
    """When the order was seen closed."""


class IdempotencyKey(Base, IdempotencyKeyColumns, table=True):
    """Which order a client's key stands for, see `runtime.idempotency`."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (idempotency_key_index(),)


class Outbox(Base, OutboxColumns, table=True):
    """Events of this database, see `runtime.outbox`."""

    __table_args__ = (outbox_index(),)


class RelayLease(Base, RelayLeaseColumns, table=True):
    """Which relay publishes this database's outbox, see `runtime.outbox`."""

    __tablename__ = "relay_lease"


class RetentionRow(Base, RetentionColumns, table=True):
    """How far what is old was deleted, see `runtime.retention`."""

    __tablename__ = "retention"
