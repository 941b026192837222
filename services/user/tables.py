"""Tables of the user database: the one list of each table's columns, which values and statements are made of."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, Index, Integer, LargeBinary, Text, Uuid, text
from sqlmodel import Field, SQLModel

from domain.users import LinkPurpose, Role
from runtime.database import service_metadata, timestamp
from runtime.due_work import DueColumns
from runtime.idempotency import IdempotencyKeyColumns, idempotency_key_index
from runtime.outbox import OutboxColumns, RelayLeaseColumns, outbox_index
from runtime.retention import RetentionColumns

SCHEMA: Final = "0010"
"""Revision of the migrations that makes these tables."""


class Base(SQLModel):
    """Every table of this database."""

    metadata = service_metadata()


class UserColumns(SQLModel):
    """An account, without its password."""

    id: str = Field(sa_type=Uuid(as_uuid=False), primary_key=True)
    email: str = Field(sa_type=Text)
    name: str = Field(sa_type=Text)
    role: Role = Field(sa_type=Text)
    seq: int = Field(sa_type=BigInteger)
    """Number of the account's last event."""
    created_at: datetime = timestamp()
    confirmed_at: datetime | None = timestamp(default=None, nullable=True)
    """When the holder proved that they read mails to the address."""
    disabled_at: datetime | None = timestamp(default=None, nullable=True)
    """Since when nobody can log in."""
    password_changed_at: datetime | None = timestamp(default=None, nullable=True)


class UserRow(Base, UserColumns, table=True):
    """One account. Its e-mail is kept as it was given and is unique whatever its case."""

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("role IN ('customer', 'support', 'admin')", name="role"),
        Index("uq_users_lower_email", text("lower(email)"), unique=True),
        Index("ix_users_admins", "id", postgresql_where="role = 'admin' AND disabled_at IS NULL"),
    )

    password_hash: str = Field(sa_type=Text)
    """Argon2id in the PHC string format, parameters included."""


class IdempotencyKey(Base, IdempotencyKeyColumns, table=True):
    """Which account a sign-up's key stands for, see `runtime.idempotency`. It is its e-mail's key, in whatever case."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (idempotency_key_index(),)


class RefreshTokenRow(Base, table=True):
    """One refresh token. All that were rotated out of one login are a family, named by the id of its first token.

    To its holder a family is a session: where somebody is logged in.
    """

    __tablename__ = "refresh_tokens"
    __table_args__ = (Index("ix_refresh_tokens_revoked_at", "revoked_at", postgresql_where="revoked_at IS NOT NULL"),)

    id: str = Field(sa_type=Uuid(as_uuid=False), primary_key=True)
    family_id: str = Field(sa_type=Uuid(as_uuid=False), foreign_key="refresh_tokens.id", index=True)
    user_id: str | None = Field(
        default=None, sa_type=Uuid(as_uuid=False), foreign_key="users.id", index=True, ondelete="SET NULL"
    )
    """NULL once its holder was erased."""
    token_hash: bytes = Field(sa_type=LargeBinary, unique=True)
    """SHA-256 of the token, which nobody but its holder has: 256 random bits need no salt and no slow hash."""
    issued_at: datetime = timestamp()
    expires_at: datetime = timestamp()
    used_at: datetime | None = timestamp(default=None, nullable=True)
    """When it was traded for the next one."""
    revoked_at: datetime | None = timestamp(default=None, nullable=True)
    """When the family was revoked, in the row of its first token alone: so one row decides for tokens of all times."""
    address: str = Field(default="", sa_type=Text, sa_column_kwargs={"server_default": ""})
    """Where it was issued to, as a network: no single household."""
    user_agent: str = Field(default="", sa_type=Text, sa_column_kwargs={"server_default": ""})


class AccountLinkRow(Base, table=True):
    """A link that is mailed, and works once.

    Its token is made when its mail is written, and only the mail has it. A mail that is written again, because nobody
    knows whether it got out, has another token, and both work.
    """

    __tablename__ = "account_links"
    __table_args__ = (
        CheckConstraint(f"purpose IN ({', '.join(repr(purpose.value) for purpose in LinkPurpose)})", name="purpose"),
        Index("ix_account_links_user_id_purpose", "user_id", "purpose", "requested_at"),
    )

    id: str = Field(sa_type=Uuid(as_uuid=False), primary_key=True)
    user_id: str = Field(sa_type=Uuid(as_uuid=False), foreign_key="users.id", ondelete="CASCADE")
    purpose: LinkPurpose = Field(sa_type=Text)
    email: str = Field(sa_type=Text)
    """Where its mail goes."""
    token_hashes: list[bytes] = Field(sa_type=ARRAY(LargeBinary))
    """SHA-256 of each token: 256 random bits need no salt and no slow hash."""
    requested_at: datetime = timestamp()
    expires_at: datetime | None = timestamp(default=None, nullable=True)
    """Counted from when its mail was written last; NULL before it was."""
    used_at: datetime | None = timestamp(default=None, nullable=True)
    """When it was used, or something happened after which it is not to be."""
    replaced_email: str | None = Field(default=None, sa_type=Text)
    """The address that the account had before this link changed it."""


class PasswordResetRequestRow(Base, DueColumns, table=True):
    """Somebody says that they forgot the password of an account with this e-mail.

    Whether there is one is looked up later, so that the answer takes the same time.
    """

    __tablename__ = "password_reset_requests"
    __table_args__ = (
        Index("uq_password_reset_requests_lower_email", text("lower(email)"), unique=True),
        Index("ix_password_reset_requests_due", "next_attempt_at"),
    )

    id: str = Field(sa_type=Uuid(as_uuid=False), primary_key=True)
    email: str = Field(sa_type=Text)


class ErasureRow(Base, DueColumns, table=True):
    """A person who was erased: what is left of them, and what other services have still to forget."""

    __tablename__ = "erasures"
    __table_args__ = (Index("ix_erasures_due", "next_attempt_at", postgresql_where="completed_at IS NULL"),)

    user_id: str = Field(sa_type=Uuid(as_uuid=False), primary_key=True)
    requested_by: str = Field(sa_type=Text)
    """Themselves, an admin or an operator, see `runtime.caller.Caller.actor`."""
    requested_at: datetime = timestamp()
    completed_at: datetime | None = timestamp(default=None, nullable=True)
    """When nobody knew them any more."""


class AdoptionRow(Base, DueColumns, table=True):
    """An account whose address was confirmed: the order service has still to hear of it, since what was ordered with
    that address as a guest becomes the account's."""

    __tablename__ = "adoptions"
    __table_args__ = (Index("ix_adoptions_due", "next_attempt_at"),)

    user_id: str = Field(sa_type=Uuid(as_uuid=False), primary_key=True, foreign_key="users.id", ondelete="CASCADE")


class RateLimitRow(Base, table=True):
    """A bucket of permits, see `domain.rate_limits`; one that is full needs no row. Whose it is, nobody can read."""

    __tablename__ = "rate_limits"
    __table_args__ = ({"postgresql_with": {"fillfactor": "70"}},)

    bucket: bytes = Field(sa_type=LargeBinary, primary_key=True)
    """A digest of what is limited and whose it is."""
    full_at: datetime = timestamp()
    granted: int = Field(sa_type=Integer)
    """What the last one who asked got."""


class RateLimitExemptionRow(Base, table=True):
    """Somebody who is not counted where that is said."""

    __tablename__ = "rate_limit_exemptions"

    key: bytes = Field(sa_type=LargeBinary, primary_key=True)
    ends_at: datetime = timestamp()


class Outbox(Base, OutboxColumns, table=True):
    """Events of this database, see `runtime.outbox`."""

    __table_args__ = (outbox_index(),)


class RelayLease(Base, RelayLeaseColumns, table=True):
    """Which relay publishes this database's outbox, see `runtime.outbox`."""

    __tablename__ = "relay_lease"


class RetentionRow(Base, RetentionColumns, table=True):
    """How far what is old was deleted, see `runtime.retention`."""

    __tablename__ = "retention"
