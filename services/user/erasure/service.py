"""Use cases of erasing a person.

Their account goes in one transaction, which leaves a row of what is still to be done: the other services are asked
until they have forgotten the person, whatever dies meanwhile. An access token may live on for a while, and order
something: so they are asked once more when none can.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

import structlog

from runtime.database import Database
from runtime.due_work import Claimed
from runtime.due_worker import Record
from services.user.erasure.others import Others
from services.user.erasure.repository import ErasedPerson, ErasureRepository
from services.user.errors import BadCredentials, LastAdmin, UserErased, UserNotFound
from services.user.messages import changed_event
from services.user.passwords import Passwords
from services.user.repository import UserRepository
from services.user.token_repository import TokenRepository

log = structlog.stdlib.get_logger(__name__)

_ASK_AGAIN: Final = timedelta(minutes=1)
_SLACK: Final = timedelta(minutes=1)
"""How much longer than a token lives a request with it may take."""


class Erasures:
    """Erases people.

    Args:
        database: the user database.
        passwords: verifies.
        others: who else knows them.
        token_life: of access tokens.
        on_due: called when other services have to be asked.
    """

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        others: Others,
        *,
        token_life: timedelta,
        on_due: Callable[[], None],
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._others = others
        self._token_life = token_life
        self._on_due = on_due

    async def check_password(self, user_id: str, password: str) -> None:
        """See that somebody who wants to be erased is who they say.

        Raises:
            BadCredentials: it is not the account's password.
            Unavailable: too many passwords wait to be verified.
        """
        async with self._database.autocommit() as connection:
            password_hash = await UserRepository(connection).find_password_hash(user_id)
        if not await self._passwords.verify(password, password_hash=password_hash):
            raise BadCredentials

    async def erase(self, user_id: str, *, actor: str) -> None:
        """Delete the account, once, end its sessions, and let the other services forget its holder.

        Raises:
            UserErased: that was done before.
            UserNotFound: there is no such account.
            LastAdmin: nobody would be left who can make another admin.
        """
        async with self._database.transaction() as connection:
            users, erasures = UserRepository(connection), ErasureRepository(connection)
            admins = await users.lock_admins()
            user = await users.lock_user(user_id)
            if user is None:
                raise UserErased(user_id) if await erasures.is_erased(user_id) else UserNotFound(user_id)
            if admins == [user_id]:
                raise LastAdmin(user_id)
            await TokenRepository(connection).end_sessions(user_id)
            event = changed_event(user_id, "user.erased", seq=user.seq + 1, at=datetime.now(UTC))
            await erasures.erase(user_id, requested_by=actor, event=event)
        log.info("user.erased", user_id=user_id, actor=actor)
        self._on_due()

    async def process(self, claimed: Claimed[ErasedPerson]) -> timedelta | Record:
        """Have the other services forget a person; see `runtime.due_worker`.

        Raises:
            Unavailable: one of them is away.
        """
        forgotten = await self._others.forget(claimed.item.user_id)
        last = claimed.item.requested_at + self._token_life + _SLACK
        if not forgotten or datetime.now(UTC) < last:
            return _ASK_AGAIN
        return partial(self._complete, claimed)

    async def _complete(self, claimed: Claimed[ErasedPerson]) -> bool:
        async with self._database.autocommit() as connection:
            if not await ErasureRepository(connection).complete(claimed):
                log.warning("erasure.claim_lost", user_id=claimed.item.user_id)
        return False
