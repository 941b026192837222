"""Use cases of those who administer accounts. The last admin stays one, whatever is asked for at once."""

from __future__ import annotations

import structlog

from domain.users import Role
from runtime.database import Database
from services.user.errors import LastAdmin, UserNotFound
from services.user.model import User, UserPage
from services.user.repository import UserRepository
from services.user.token_repository import TokenRepository

log = structlog.stdlib.get_logger(__name__)


class Administration:
    """Roles of accounts, and whether anybody can log in."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_users(self, *, email: str | None, before: str | None, page_size: int) -> UserPage:
        """Accounts, the newest first: all, or the one with this e-mail, in whatever case."""
        async with self._database.autocommit() as connection:
            found = await UserRepository(connection).list_users(email=email, before=before, limit=page_size + 1)
        return UserPage(users=found[:page_size], has_more=len(found) > page_size)

    async def change(self, user_id: str, *, role: Role | None, disabled: bool | None, actor: str) -> User:
        """Give an account another role, disable or enable it; what is None stays. A repeat changes nothing.

        With a role and with being disabled its sessions end: whoever is logged in logs in again, or cannot.

        Raises:
            UserNotFound: there is no such account.
            LastAdmin: nobody would be left who can make another admin.
        """
        async with self._database.transaction() as connection:
            users = UserRepository(connection)
            admins = await users.lock_admins()
            user = await users.lock_user(user_id)
            if user is None:
                raise UserNotFound(user_id)
            changed = await users.set_state(
                user_id,
                role=user.role if role is None else role,
                disabled=user.disabled if disabled is None else disabled,
            )
            if user.is_active_admin and not changed.is_active_admin and admins == [user_id]:
                raise LastAdmin(user_id)
            if changed.role is not user.role or (changed.disabled and not user.disabled):
                await TokenRepository(connection).end_sessions(user_id)
        if changed != user:
            log.info("user.changed", user_id=user_id, role=changed.role, disabled=changed.disabled, actor=actor)
        return changed
