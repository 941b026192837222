"""Asking for a link: it is stored with the event that has its mail written, and has no token before that."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from domain.ids import new_id
from domain.users import LinkPurpose
from runtime.database import Connection
from services.user.errors import TooManyMails
from services.user.links.repository import LinkRepository
from services.user.messages import changed_event
from services.user.model import User
from services.user.repository import UserRepository

MAILS_PER_HOUR: Final = 5
"""Of one kind, to one account: somebody else may be asking for them."""
_EVENTS: Final[Mapping[LinkPurpose, str]] = {
    LinkPurpose.CONFIRM_EMAIL: "user.confirmation_requested",
    LinkPurpose.RESET_PASSWORD: "user.password_reset_requested",
    LinkPurpose.CHANGE_EMAIL: "user.email_change_requested",
}


async def request_link(connection: Connection, user: User, purpose: LinkPurpose, *, email: str | None = None) -> None:
    """Have a link mailed to an account's address, or to another one.

    Args:
        connection: in a transaction in which the account is new or locked.
        user: as it was read there, before any other event of the transaction.
        purpose: what the link is for.
        email: in place of the account's own.

    Raises:
        TooManyMails: the account had several of the kind within an hour.
    """
    link_id = new_id()
    if not await LinkRepository(connection).add(
        link_id, user.id, purpose, email=email or user.email, most=MAILS_PER_HOUR
    ):
        raise TooManyMails
    event = changed_event(user.id, _EVENTS[purpose], seq=user.seq + 1, at=datetime.now(UTC), link_id=link_id)
    await UserRepository(connection).add_event(event)
