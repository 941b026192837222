"""Tables of the order database."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, Index, Text, UniqueConstraint, Uuid
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from domain.orders import OrderStatus
from runtime.database import service_metadata, timestamp
from runtime.outbox import OutboxColumns, RelayLeaseColumns, outbox_index

_STATUSES = ", ".join(f"'{status}'" for status in OrderStatus)


class Base(SQLModel):
    """Every table of this database."""

    metadata = service_metadata()


class Order(Base, table=True):
    """An order as it stands. What the saga needs to start is kept here too, so that a sweep can start it."""

    __tablename__ = "orders"
    __table_args__ = (
        CheckConstraint(f"status IN ({_STATUSES})", name="status"),
        Index("ix_orders_unstarted", "created_at", postgresql_where="status = 'RECEIVED' AND saga_seen_at IS NULL"),
    )

    id: str = Field(sa_type=Uuid(as_uuid=False), primary_key=True)
    user_id: str = Field(sa_type=Uuid(as_uuid=False), index=True)
    status: OrderStatus = Field(sa_type=Text)
    reason: str | None = Field(default=None, sa_type=Text)
    currency: str = Field(sa_type=Text)
    total: int | None = Field(default=None, sa_type=BigInteger)
    refunded: int = Field(default=0, sa_type=BigInteger)
    """Minor units given back so far: the sum of its succeeded `order_refunds`."""
    expected_total: int | None = Field(default=None, sa_type=BigInteger)
    payment_method: str | None = Field(default=None, sa_type=Text)
    payment_window_seconds: int
    payment_id: str | None = Field(default=None, sa_type=Uuid(as_uuid=False))
    payment_deadline: datetime | None = timestamp(default=None, nullable=True)
    shipping_address: dict[str, str] = Field(sa_type=JSONB)
    seq: int
    """Number of the order's last transition."""
    saga_seen_at: datetime | None = timestamp(default=None, nullable=True)
    """When the sweep made sure that the order has a workflow; most orders never need it."""
    created_at: datetime = timestamp()
    updated_at: datetime = timestamp()


class OrderItem(Base, table=True):
    """So many pieces of one product, with the price once the order is quoted."""

    __tablename__ = "order_items"
    __table_args__ = (CheckConstraint("quantity > 0", name="quantity"),)

    order_id: str = Field(sa_type=Uuid(as_uuid=False), primary_key=True, foreign_key="orders.id")
    product_id: str = Field(sa_type=Uuid(as_uuid=False), primary_key=True)
    quantity: int
    unit_price: int | None = Field(default=None, sa_type=BigInteger)


class OrderTransition(Base, table=True):
    """One arrow of an order's history, gapless from 1."""

    __tablename__ = "order_transitions"
    __table_args__ = (UniqueConstraint("order_id", "cause_id"),)

    order_id: str = Field(sa_type=Uuid(as_uuid=False), primary_key=True, foreign_key="orders.id")
    seq: int = Field(primary_key=True)
    from_status: OrderStatus | None = Field(default=None, sa_type=Text)
    to_status: OrderStatus = Field(sa_type=Text)
    reason: str | None = Field(default=None, sa_type=Text)
    cause_id: str = Field(sa_type=Text)
    at: datetime = timestamp()


class OrderRefund(Base, table=True):
    """What the order was last told of one of its refunds."""

    __tablename__ = "order_refunds"
    __table_args__ = (CheckConstraint("amount > 0", name="amount"),)

    refund_id: str = Field(sa_type=Uuid(as_uuid=False), primary_key=True)
    order_id: str = Field(sa_type=Uuid(as_uuid=False), foreign_key="orders.id", index=True)
    amount: int = Field(sa_type=BigInteger)
    succeeded: bool
    """Whether its money is given back; a refund that the order was told nothing of counts as one that is not."""
    version: int = Field(sa_type=BigInteger)
    """Number of the refund's change that the order knows of: whatever was before it changes nothing any more."""


class Attention(Base, table=True):
    """A step of an order's saga that needs a person, until it is cleared."""

    __tablename__ = "attention"
    __table_args__ = (Index("ix_attention_open", "since", postgresql_where="cleared_at IS NULL"),)

    order_id: str = Field(sa_type=Uuid(as_uuid=False), primary_key=True, foreign_key="orders.id")
    step: str = Field(sa_type=Text, primary_key=True)
    why: str = Field(sa_type=Text)
    since: datetime = timestamp()
    cleared_at: datetime | None = timestamp(default=None, nullable=True)


class Cancellation(Base, table=True):
    """The wish to cancel an order: the first one stands. Settled once the order has closed, however it ended."""

    __tablename__ = "cancellations"
    __table_args__ = (
        CheckConstraint("cancelled_by IN ('CUSTOMER', 'ADMIN')", name="cancelled_by"),
        Index("ix_cancellations_open", "requested_at", postgresql_where="settled_at IS NULL"),
    )

    order_id: str = Field(sa_type=Uuid(as_uuid=False), primary_key=True, foreign_key="orders.id")
    cancelled_by: str = Field(sa_type=Text)
    user_id: str = Field(sa_type=Uuid(as_uuid=False))
    why: str = Field(sa_type=Text)
    requested_at: datetime = timestamp()
    settled_at: datetime | None = timestamp(default=None, nullable=True)


class IdempotencyKey(Base, table=True):
    """Which order a client's key stands for."""

    __tablename__ = "idempotency_keys"

    user_id: str = Field(sa_type=Uuid(as_uuid=False), primary_key=True)
    route: str = Field(sa_type=Text, primary_key=True)
    key: str = Field(sa_type=Text, primary_key=True)
    request_hash: str = Field(sa_type=Text)
    order_id: str = Field(sa_type=Uuid(as_uuid=False))
    accepted_only: bool = False
    """Whether the first answer came before the order left RECEIVED."""
    created_at: datetime = timestamp()


class Outbox(Base, OutboxColumns, table=True):
    """Events of this database, see `runtime.outbox`."""

    __table_args__ = (outbox_index(),)


class RelayLease(Base, RelayLeaseColumns, table=True):
    """Which relay publishes this database's outbox, see `runtime.outbox`."""

    __tablename__ = "relay_lease"
