"""All SQL of the user service but that of tokens. Every method runs on the caller's connection, in its transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from psycopg.errors import UniqueViolation

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
_ADD_EVENT: Final = with_events(
    """
    changed AS (
        UPDATE users SET seq = %(seq)s WHERE id = %(user_id)s AND seq = %(seq)s - 1
        RETURNING id
    )
    """
)
_USER: Final = columns(UserColumns)


class UserRepository:
    """Accounts, on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add_user(self, user: User, *, password_hash: str, events: Sequence[Event]) -> bool:
        """Store a new account and its events, unless its e-mail is taken; waits for one that is just taking it."""
        added = await self._connection.execute(
            _ADD_USER, **user.model_dump(), password_hash=password_hash, events=encode_events(events)
        )
        return added == 1

    async def add_event(self, event: Event) -> None:
        """Store the next event of an account that is locked."""
        added = await self._connection.execute(
            _ADD_EVENT, user_id=event.aggregate_id, seq=event.seq, events=encode_events([event])
        )
        if added != 1:
            raise LookupError(f"event {event.id} is not the next one of its account")

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
            UPDATE users
               SET role = %(role)s, password_hash = %(password_hash)s, password_changed_at = now(), disabled_at = NULL
             WHERE lower(email) = lower(%(email)s)
            RETURNING {_USER}
            """,  # noqa: S608 - put together from constants
            role=Role.ADMIN,
            password_hash=password_hash,
            email=email,
        )
        if admin is None:
            raise LookupError("the account was deleted")
        return admin

    async def list_users(self, *, email: str | None, before: str | None, limit: int) -> list[User]:
        """The newest accounts before that one, with this e-mail in whatever case, or all of them."""
        return await self._connection.fetch_all(
            User,
            f"""
            SELECT {_USER} FROM users
             WHERE (%(email)s::text IS NULL OR lower(email) = lower(%(email)s))
               AND (%(before)s::uuid IS NULL OR id < %(before)s::uuid)
             ORDER BY id DESC LIMIT %(limit)s
            """,  # noqa: S608 - put together from constants
            email=email,
            before=before,
            limit=limit,
        )

    async def lock_admins(self) -> list[str]:
        """The accounts that can make admins, which stay so until the transaction ends.

        Of two that want the last two away at once, one waits here, and then finds one left.
        """
        return await self._connection.fetch_all(
            lambda id: str(id),  # noqa: A006 - the column
            "SELECT id FROM users WHERE role = 'admin' AND disabled_at IS NULL ORDER BY id FOR UPDATE",
        )

    async def lock_user(self, user_id: str) -> User | None:
        """One account, which stays as it is until the transaction ends."""
        return await self._connection.fetch_one(
            User,
            f"SELECT {_USER} FROM users WHERE id = %(user_id)s FOR UPDATE",  # noqa: S608 - put together from constants
            user_id=user_id,
        )

    async def set_state(self, user_id: str, *, role: Role, disabled: bool) -> User:
        """Give an account that is locked its role, and disable or enable it."""
        changed = await self._connection.fetch_one(
            User,
            f"""
            UPDATE users SET role = %(role)s, disabled_at = CASE WHEN %(disabled)s THEN coalesce(disabled_at, now()) END
             WHERE id = %(user_id)s
            RETURNING {_USER}
            """,  # noqa: S608 - put together from constants
            role=role,
            disabled=disabled,
            user_id=user_id,
        )
        if changed is None:
            raise LookupError(f"user {user_id} was not locked")
        return changed

    async def find_password_hash(self, user_id: str) -> str | None:
        """The hash of an account's password."""
        found: str | None = await self._connection.fetch_value(
            "SELECT password_hash FROM users WHERE id = %(user_id)s", user_id=user_id
        )
        return found

    async def set_password(self, user_id: str, *, password_hash: str) -> None:
        """Give an account another password."""
        await self._connection.execute(
            """
            UPDATE users SET password_hash = %(password_hash)s, password_changed_at = now() WHERE id = %(user_id)s
            """,
            password_hash=password_hash,
            user_id=user_id,
        )

    async def confirm_email(self, user_id: str, *, email: str) -> bool:
        """Let this be an account's address, and one whose mails are read; false when another account has it.

        What was ordered with it as a guest is to become the account's.
        """
        try:
            await self._connection.execute(
                """
                WITH confirmed AS (
                    UPDATE users
                       SET confirmed_at = CASE WHEN email = %(email)s THEN coalesce(confirmed_at, now()) ELSE now() END,
                           email = %(email)s
                     WHERE id = %(user_id)s
                    RETURNING id
                )
                INSERT INTO adoptions (user_id, attempts, next_attempt_at, traceparent)
                SELECT id, 0, now(), %(traceparent)s::text FROM confirmed
                ON CONFLICT (user_id) DO UPDATE SET next_attempt_at = now()
                """,
                user_id=user_id,
                email=email,
            )
        except UniqueViolation:
            return False
        return True

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
