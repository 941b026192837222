"""Tables of the product database: the one list of each table's columns, which values and statements are made of."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import BigInteger, CheckConstraint, Text, Uuid
from sqlmodel import Field, SQLModel

from runtime.database import service_metadata, timestamp
from runtime.idempotency import IdempotencyKeyColumns, idempotency_key_index
from runtime.outbox import OutboxColumns, RelayLeaseColumns, outbox_index
from runtime.retention import RetentionColumns

SCHEMA: Final = "0004"
"""Revision of the migrations that makes these tables."""


class Base(SQLModel):
    """Every table of this database."""

    metadata = service_metadata()


class ProductColumns(SQLModel):
    """A product in its version `seq`."""

    id: str = Field(sa_type=Uuid(as_uuid=False), primary_key=True)
    name: str = Field(sa_type=Text)
    description: str = Field(sa_type=Text)
    unit_price: int = Field(sa_type=BigInteger)
    """Minor units of `currency` each."""
    currency: str = Field(sa_type=Text)
    active: bool
    """Whether it can be sold."""
    seq: int = Field(sa_type=BigInteger)
    """The product's version: number of its last event."""
    created_at: datetime = timestamp()
    updated_at: datetime = timestamp()
    deleted_at: datetime | None = timestamp(default=None, nullable=True)
    """When it was taken out of the catalogue; the row stays, so that orders and mails keep its name."""


class ProductRow(Base, ProductColumns, table=True):
    """One product of the catalogue. Ids are UUIDv7, so they sort by creation."""

    __tablename__ = "products"
    __table_args__ = (
        CheckConstraint("unit_price >= 0", name="unit_price"),
        CheckConstraint("deleted_at IS NULL OR NOT active", name="deleted_is_inactive"),
    )


class IdempotencyKey(Base, IdempotencyKeyColumns, table=True):
    """Which product an admin's key stands for, see `runtime.idempotency`."""

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
