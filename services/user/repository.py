"""All SQL of the user service but that of tokens. Every method runs on the caller's connection, in its transaction."""

from __future__ import annotations

from typing import Any, Final

from domain.users import Role
from runtime.database import Connection
from runtime.outbox import Event, encode_events, with_events
from runtime.rows import columns, parameters
from services.user.model import User
from services.user.tables import UserColumns, UserRow

_ADD_USER: Final = with_events(
    f"""
    changed AS (
        INSERT INTO users ({columns(UserRow)}) VALUES ({parameters(UserRow)})
        ON CONFLICT DO NOTHING
        RETURNING id
    )
    """  # noqa: S608 - put together from constants
)
_USER: Final = columns(UserColumns)


class UserRepository:
    """Accounts, on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add_user(self, user: User, *, password_hash: str, event: Event) -> bool:
        """Store a new account and its event, unless its e-mail is taken; waits for one that is just taking it."""
        added = await self._connection.execute(
            _ADD_USER, **user.model_dump(), password_hash=password_hash, events=encode_events([event])
        )
        return added == 1

    async def find_user(self, user_id: str) -> User | None:
        """One account."""
        return await self._connection.fetch_one(
            User,
            f"SELECT {_USER} FROM users WHERE id = %(user_id)s",  # noqa: S608 - put together from constants
            user_id=user_id,
        )

    async def find_credentials(self, email: str) -> tuple[User, str] | None:
        """The account with this e-mail, in whatever case, and its password's hash."""
        return await self._connection.fetch_one(
            _to_credentials,
            f"SELECT {_USER}, password_hash FROM users WHERE lower(email) = lower(%(email)s)",  # noqa: S608 - likewise
            email=email,
        )

    async def make_admin(self, email: str, *, password_hash: str) -> User:
        """Give the account with this e-mail, which there must be, the admin's role and this password."""
        admin = await self._connection.fetch_one(
            User,
            f"""
            UPDATE users SET role = %(role)s, password_hash = %(password_hash)s WHERE lower(email) = lower(%(email)s)
            RETURNING {_USER}
            """,  # noqa: S608 - put together from constants
            role=Role.ADMIN,
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


def _to_credentials(*, password_hash: str, **user: Any) -> tuple[User, str]:
    return User(**user), password_hash
