"""All SQL of the user service but that of tokens. Every method runs on the caller's connection, in its transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from runtime.caller import CallerRole
from runtime.database import Connection
from runtime.outbox import Event, encode_events, with_events
from services.user.model import User

_ADD_USER: Final = with_events("""
    changed AS (
        INSERT INTO users (id, email, name, password_hash, role, seq, created_at)
        VALUES (%(user_id)s, %(email)s, %(name)s, %(password_hash)s, %(role)s, %(seq)s, %(created_at)s)
        ON CONFLICT DO NOTHING
        RETURNING id
    )
""")


class UserRepository:
    """Accounts, on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add_user(self, user: User, *, password_hash: str, events: Sequence[Event]) -> bool:
        """Write a new account and its events, unless its e-mail is taken; waits for one that is just taking it."""
        added = await self._connection.execute(
            _ADD_USER,
            user_id=user.id,
            email=user.email,
            name=user.name,
            password_hash=password_hash,
            role=user.role,
            seq=user.seq,
            created_at=user.created_at,
            events=encode_events(events),
        )
        return added == 1

    async def find_user(self, user_id: str) -> User | None:
        """One account."""
        return await self._connection.fetch_one(
            _to_user,
            "SELECT id, email, name, role, seq, created_at FROM users WHERE id = %(user_id)s",
            user_id=user_id,
        )

    async def find_credentials(self, email: str) -> tuple[User, str] | None:
        """The account with this e-mail, in whatever case, and its password's hash."""
        return await self._connection.fetch_one(
            _to_credentials,
            """
            SELECT id, email, name, role, seq, created_at, password_hash
              FROM users
             WHERE lower(email) = lower(%(email)s)
            """,
            email=email,
        )

    async def make_admin(self, email: str, *, password_hash: str) -> User:
        """Give the account with this e-mail, which there must be, the admin's role and this password."""
        admin = await self._connection.fetch_one(
            _to_user,
            """
            UPDATE users SET role = %(role)s, password_hash = %(password_hash)s WHERE lower(email) = lower(%(email)s)
            RETURNING id, email, name, role, seq, created_at
            """,
            role=CallerRole.ADMIN,
            password_hash=password_hash,
            email=email,
        )
        if admin is None:
            raise LookupError("the account was deleted")
        return admin

    async def replace_password_hash(self, user_id: str, *, old: str, new: str) -> None:
        """Store a better hash of the same password, unless the password was changed meanwhile."""
        await self._connection.execute(
            "UPDATE users SET password_hash = %(new)s WHERE id = %(user_id)s AND password_hash = %(old)s",
            new=new,
            user_id=user_id,
            old=old,
        )


def _to_user(*, role: str, **columns: Any) -> User:
    return User(role=CallerRole(role), **columns)


def _to_credentials(*, password_hash: str, **columns: Any) -> tuple[User, str]:
    return _to_user(**columns), password_hash
