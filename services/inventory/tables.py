"""Tables of the inventory database: the one list of each table's columns, which values and statements are made of."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import BigInteger, CheckConstraint, Index, Text, Uuid
from sqlmodel import Field, SQLModel

from domain.stock import MovementKind, ReservationStatus
from runtime.database import service_metadata, timestamp
from runtime.outbox import OutboxColumns, RelayLeaseColumns, outbox_index
from runtime.retention import RetentionColumns

SCHEMA: Final = "0004"
"""Revision of the migrations that makes these tables."""


class Base(SQLModel):
    """Every table of this database."""

    metadata = service_metadata()


class StockColumns(SQLModel):
    """Units of one product."""

    product_id: str = Field(sa_type=Uuid(as_uuid=False), primary_key=True)
    on_hand: int = Field(sa_type=BigInteger)
    reserved: int = Field(sa_type=BigInteger)
    seq: int = Field(sa_type=BigInteger)
    """Number of the product's last movement."""


class StockRow(Base, StockColumns, table=True):
    """Stock of one product. A product without a row has none."""

    __tablename__ = "stock"
    __table_args__ = (CheckConstraint("reserved >= 0 AND reserved <= on_hand", name="available"),)


class ReservationRow(Base, table=True):
    """An order's reservation; RELEASED without lines is the tombstone of a release that came first."""

    __tablename__ = "reservations"
    __table_args__ = (CheckConstraint("status IN ('ACTIVE', 'COMMITTED', 'RELEASED')", name="status"),)

    order_id: str = Field(sa_type=Uuid(as_uuid=False), primary_key=True)
    status: ReservationStatus = Field(sa_type=Text)
    created_at: datetime = timestamp()
    updated_at: datetime = timestamp()


class ReservationLineRow(Base, table=True):
    """A quantity of one product for one order."""

    __tablename__ = "reservation_lines"
    __table_args__ = (CheckConstraint("quantity > 0", name="quantity"),)

    order_id: str = Field(sa_type=Uuid(as_uuid=False), primary_key=True, foreign_key="reservations.order_id")
    product_id: str = Field(sa_type=Uuid(as_uuid=False), primary_key=True, index=True)
    quantity: int


class ChangeColumns(SQLModel):
    """A change of one product's stock, and what caused it."""

    product_id: str = Field(sa_type=Uuid(as_uuid=False), primary_key=True)
    kind: MovementKind = Field(sa_type=Text)
    on_hand_change: int = Field(default=0, sa_type=BigInteger)
    reserved_change: int = Field(default=0, sa_type=BigInteger)
    order_id: str | None = Field(default=None, sa_type=Uuid(as_uuid=False))
    adjustment_id: str | None = Field(default=None, sa_type=Uuid(as_uuid=False), unique=True)
    restock_id: str | None = Field(default=None, sa_type=Uuid(as_uuid=False))
    note: str = Field(default="", sa_type=Text)
    """Why it was adjusted, in the words of whoever did."""
    actor: str | None = Field(default=None, sa_type=Text)
    """Who adjusted it, see `runtime.caller.Caller.actor`; None where an order moved it, or it was before 0.3."""


class MovementRow(Base, ChangeColumns, table=True):
    """The ledger: one row per change of a product's stock, gapless per product.

    The sum of `on_hand_change` is what is on hand; the sum of `reserved_change` is what is reserved.

    A product of an order is reserved, committed and released once each, but restocked once per refund: hence unique
    indexes of two kinds. Both are partial, so that a movement pays for its own alone.
    """

    __tablename__ = "movements"
    __table_args__ = (
        Index(
            "uq_movements_order_id_product_id_kind",
            "order_id",
            "product_id",
            "kind",
            unique=True,
            postgresql_where="restock_id IS NULL",
        ),
        Index(
            "uq_movements_restock_id_product_id",
            "restock_id",
            "product_id",
            unique=True,
            postgresql_where="restock_id IS NOT NULL",
        ),
        Index("ix_movements_restocked_order_id", "order_id", postgresql_where="restock_id IS NOT NULL"),
        CheckConstraint("kind IN ('reserved', 'committed', 'released', 'adjusted', 'restocked')", name="kind"),
        CheckConstraint("(kind = 'restocked') = (restock_id IS NOT NULL)", name="restocked"),
    )

    seq: int = Field(sa_type=BigInteger, primary_key=True)
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
