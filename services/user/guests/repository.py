"""SQL of guests. Every method runs on the caller's connection, in its transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from runtime.database import Connection
from runtime.due_work import Claimed, DueTable


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmedAddress:
    """An address whose account's holder is known to read its mails."""

    user_id: str
    email: str


DUE_ADOPTIONS: Final = DueTable(
    table="adoptions",
    key="user_id",
    pending="true",
    columns="users.id AS user_id, users.email",
    joined="JOIN users ON users.id = claimed.user_id",
    make=ConfirmedAddress,
)
"""Accounts whose guest orders the order service has still to look for."""


class GuestRepository:
    """What this database knows of guests, on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def find_confirmed(self, email: str) -> str | None:
        """The account that has this address, in whatever case, and whose holder reads its mails."""
        found: str | None = await self._connection.fetch_value(
            """
            SELECT id FROM users
             WHERE lower(email) = lower(%(email)s) AND confirmed_at IS NOT NULL AND disabled_at IS NULL
            """,
            email=email,
        )
        return found

    async def end_adoption(self, claimed: Claimed[ConfirmedAddress]) -> bool:
        """Note that the order service knows; false when the claim is lost, for one because it is due once more."""
        deleted = await self._connection.execute(
            f"DELETE FROM adoptions WHERE {DUE_ADOPTIONS.still_claimed}",  # noqa: S608 - put together from constants
            **claimed.parameters,
        )
        return deleted == 1
