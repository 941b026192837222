"""SQL of erasures. Every method runs on the caller's connection, in its transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from runtime.database import Connection
from runtime.due_work import Claimed, DueTable
from runtime.outbox import Event, encode_events, with_events

# The sessions that have ended by this stay known, without whose they were.
_ERASE: Final = with_events(
    """
    traces AS (
        UPDATE refresh_tokens SET address = '', user_agent = '' WHERE user_id = %(user_id)s
    ),
    changed AS (
        INSERT INTO erasures (user_id, requested_by, requested_at, attempts, next_attempt_at, traceparent)
        VALUES (%(user_id)s, %(requested_by)s, now(), 0, now(), %(traceparent)s::text)
        RETURNING user_id
    )
    """
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasedPerson:
    """Somebody whom other services have still to forget."""

    user_id: str
    requested_at: datetime


DUE_ERASURES: Final = DueTable(
    table="erasures",
    key="user_id",
    pending="completed_at IS NULL",
    columns="claimed.user_id, claimed.requested_at",
    make=ErasedPerson,
)


class ErasureRepository:
    """Erasures, on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def erase(self, user_id: str, *, requested_by: str, event: Event) -> None:
        """Delete an account that is locked, with all that this database knows of its holder, and note that."""
        await self._connection.execute(
            _ERASE, user_id=user_id, requested_by=requested_by, events=encode_events([event])
        )
        await self._connection.execute("DELETE FROM users WHERE id = %(user_id)s", user_id=user_id)

    async def is_erased(self, user_id: str) -> bool:
        """Whether there was such an account."""
        found: bool = await self._connection.fetch_value(
            "SELECT EXISTS (SELECT FROM erasures WHERE user_id = %(user_id)s)", user_id=user_id
        )
        return found

    async def complete(self, claimed: Claimed[ErasedPerson]) -> bool:
        """Note that nobody knows the person any more; false when the claim is lost."""
        changed = await self._connection.execute(
            f"""
            UPDATE erasures SET completed_at = now(), last_error = NULL WHERE {DUE_ERASURES.still_claimed}
            """,  # noqa: S608 - put together from constants
            **claimed.parameters,
        )
        return changed == 1
