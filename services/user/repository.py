"""All SQL of the user service. Every method runs in the caller's transaction and never commits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import Mapped
from sqlmodel import col

from runtime.caller import CallerRole
from runtime.outbox import Event, add_events
from services.user.tables import Outbox
from services.user.tables import User as UserRow


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """An account, without its password."""

    id: str
    email: str
    name: str
    role: CallerRole
    seq: int
    created_at: datetime


_USER: Sequence[Mapped[Any]] = (
    col(UserRow.id),
    col(UserRow.email),
    col(UserRow.name),
    col(UserRow.role),
    col(UserRow.seq),
    col(UserRow.created_at),
)


class UserRepository:
    """Accounts, in one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def now(self) -> datetime:
        """The transaction's time."""
        return (await self._connection.execute(select(func.now()))).scalar_one()

    async def add_user(self, user: User, *, password_hash: str, events: Sequence[Event]) -> bool:
        """Write a new account and its events, unless its e-mail is taken; waits for one that is just taking it."""
        row = {
            "id": user.id,
            "email": user.email,
            "name": user.name,
            "password_hash": password_hash,
            "role": user.role.value,
            "seq": user.seq,
            "created_at": user.created_at,
        }
        statement = upsert(UserRow).values(row).on_conflict_do_nothing().returning(col(UserRow.id))
        if (await self._connection.execute(statement)).one_or_none() is None:
            return False
        await add_events(self._connection, Outbox, events)
        return True

    async def find_user(self, user_id: str) -> User | None:
        """One account."""
        row = (await self._connection.execute(select(*_USER).where(col(UserRow.id) == user_id))).one_or_none()
        return None if row is None else _to_user(row)

    async def find_credentials(self, email: str) -> tuple[User, str] | None:
        """The account with this e-mail, in whatever case, and its password's hash."""
        password_hash = col(UserRow.password_hash)
        statement = select(*_USER, password_hash).where(func.lower(col(UserRow.email)) == func.lower(email))
        row = (await self._connection.execute(statement)).one_or_none()
        return None if row is None else (_to_user(row), row.password_hash)

    async def make_admin(self, email: str, *, password_hash: str) -> User:
        """Give the account with this e-mail, which there must be, the admin's role and this password."""
        statement = (
            update(UserRow)
            .where(func.lower(col(UserRow.email)) == func.lower(email))
            .values(role=CallerRole.ADMIN.value, password_hash=password_hash)
            .returning(*_USER)
        )
        return _to_user((await self._connection.execute(statement)).one())

    async def replace_password_hash(self, user_id: str, *, old: str, new: str) -> None:
        """Store a better hash of the same password, unless the password was changed meanwhile."""
        statement = (
            update(UserRow)
            .where(col(UserRow.id) == user_id, col(UserRow.password_hash) == old)
            .values(password_hash=new)
        )
        await self._connection.execute(statement)


def _to_user(row: Row[*tuple[Any, ...]]) -> User:
    return User(
        id=row.id,
        email=row.email,
        name=row.name,
        role=CallerRole(row.role),
        seq=row.seq,
        created_at=row.created_at,
    )
