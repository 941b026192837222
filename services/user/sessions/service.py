"""Use cases of sessions: where somebody is logged in. A session is a family of refresh tokens."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from runtime.database import Database
from runtime.ended_sessions import NewlyEnded
from services.user.errors import SessionNotFound
from services.user.model import Session
from services.user.token_repository import TokenRepository

_MOST_ENDED: Final = 50_000
"""What fits into an answer of gRPC's 4 MiB."""


class Sessions:
    """Lists and ends sessions. The access tokens of one that has ended are refused soon, see `runtime.ended_sessions`.

    Args:
        database: the user database.
        token_life: of access tokens.
    """

    def __init__(self, database: Database, *, token_life: timedelta) -> None:
        self._database = database
        self._token_life = token_life

    async def list(self, user_id: str) -> Sequence[Session]:
        """Those that are open, the last used first."""
        async with self._database.autocommit() as connection:
            return await TokenRepository(connection).list_sessions(user_id)

    async def end(self, session_id: str, *, user_id: str) -> None:
        """End one.

        Raises:
            SessionNotFound: the user has none of this id that is open.
        """
        async with self._database.autocommit() as connection:
            if not await TokenRepository(connection).end_session(session_id, user_id=user_id):
                raise SessionNotFound(session_id)

    async def list_ended(self, since: datetime | None) -> NewlyEnded:
        """Sessions that ended since then, or, without a moment, all whose access tokens may not have expired yet."""
        async with self._database.autocommit() as connection:
            return await TokenRepository(connection).list_ended(since, token_life=self._token_life, limit=_MOST_ENDED)

    async def end_all(self, user_id: str) -> None:
        """End all of them; a repeat is no error."""
        async with self._database.autocommit() as connection:
            await TokenRepository(connection).end_sessions(user_id)
