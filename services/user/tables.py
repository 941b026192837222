"""Tables of the user database."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, Index, Text, Uuid, text
from sqlmodel import Field, SQLModel

from runtime.caller import CallerRole
from runtime.database import service_metadata, timestamp
from runtime.outbox import OutboxColumns, RelayLeaseColumns, outbox_index


class Base(SQLModel):
    """Every table of this database."""

    metadata = service_metadata()


class User(Base, table=True):
    """One account. Its e-mail is kept as it was given and is unique whatever its case."""

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("role IN ('customer', 'admin')", name="role"),
        Index("uq_users_lower_email", text("lower(email)"), unique=True),
    )

    id: str = Field(sa_type=Uuid(as_uuid=False), primary_key=True)
    email: str = Field(sa_type=Text)
    name: str = Field(sa_type=Text)
    password_hash: str = Field(sa_type=Text)
    """Argon2id in the PHC string format, parameters included."""
    role: CallerRole = Field(sa_type=Text)
    seq: int = Field(sa_type=BigInteger)
    """Number of the account's last event."""
    created_at: datetime = timestamp()


class Outbox(Base, OutboxColumns, table=True):
    """Events of this database, see `runtime.outbox`."""

    __table_args__ = (outbox_index(),)


class RelayLease(Base, RelayLeaseColumns, table=True):
    """Which relay publishes this database's outbox, see `runtime.outbox`."""

    __tablename__ = "relay_lease"
