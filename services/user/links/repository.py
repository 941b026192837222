"""SQL of links. Every method runs on the caller's connection, in its transaction."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from domain.users import LinkPurpose
from runtime.database import Connection
from runtime.due_work import Claimed, DueTable
from services.user.links.model import Link, LinkToken, ReplacedEmail

WRITABLE_DAYS: Final = 7
_WRITABLE: Final = timedelta(days=WRITABLE_DAYS)
"""How long after it was asked for a link's mail may still be written: a relay may be away for days."""

_ADD: Final = """
    INSERT INTO account_links (id, user_id, purpose, email, token_hashes, requested_at)
    SELECT %(link_id)s, %(user_id)s, %(purpose)s, %(email)s, '{}', now()
     WHERE %(most)s > (SELECT count(*) FROM account_links
                        WHERE user_id = %(user_id)s AND purpose = %(purpose)s
                          AND requested_at > now() - interval '1 hour')
"""
# The last few tokens work: of a mail that is written again nobody knows which one arrived.
_ISSUE: Final = """
    UPDATE account_links AS link
       SET token_hashes = array_append(token_hashes[greatest(cardinality(token_hashes) - 3, 1):], %(token_hash)s),
           expires_at = now() + %(ttl)s
      FROM users
     WHERE link.id = %(link_id)s AND link.used_at IS NULL AND link.requested_at > now() - %(writable)s
       AND users.id = link.user_id AND users.disabled_at IS NULL
       AND (link.purpose = 'change-email' OR link.email = users.email)
    RETURNING link.email, users.name, link.expires_at
"""
_FIND: Final = """
    SELECT id, user_id, purpose, email, expires_at <= now() AS expired, used_at IS NOT NULL AS used
      FROM account_links WHERE id = %(link_id)s AND %(token_hash)s = ANY(token_hashes)
"""

DUE_RESETS: Final[DueTable[str]] = DueTable(
    table="password_reset_requests",
    key="id",
    pending="true",
    columns="claimed.email",
    make=lambda email: str(email),
)
"""Requests to reset the password of an account with this e-mail."""


class LinkRepository:
    """Links, on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, link_id: str, user_id: str, purpose: LinkPurpose, *, email: str, most: int) -> bool:
        """Write a new link of an account that is locked, unless it had so many of the purpose within an hour."""
        added = await self._connection.execute(
            _ADD, link_id=link_id, user_id=user_id, purpose=purpose, email=email, most=most
        )
        return added == 1

    async def find_purpose(self, link_id: str) -> LinkPurpose | None:
        """What a link is for."""
        found = await self._connection.fetch_value(
            "SELECT purpose FROM account_links WHERE id = %(link_id)s", link_id=link_id
        )
        return None if found is None else LinkPurpose(found)

    async def issue(self, token: LinkToken, *, ttl: timedelta) -> tuple[str, str, datetime] | None:
        """Let the token open its link; address, name and end. None for one that is not to be mailed any more."""
        return await self._connection.fetch_one(
            _to_issued, _ISSUE, link_id=token.link_id, token_hash=token.hash, ttl=ttl, writable=_WRITABLE
        )

    async def find(self, token: LinkToken) -> Link | None:
        """The link that the token opens, whatever has become of it."""
        return await self._connection.fetch_one(_to_link, _FIND, link_id=token.link_id, token_hash=token.hash)

    async def use(self, link_id: str, *, replaced_email: str | None = None) -> None:
        """Note that a link was used."""
        await self._connection.execute(
            """
            UPDATE account_links SET used_at = now(), replaced_email = %(replaced_email)s WHERE id = %(link_id)s
            """,
            replaced_email=replaced_email,
            link_id=link_id,
        )

    async def void(self, user_id: str, *, but: LinkPurpose | None = None) -> None:
        """Let no link of an account be used that was not, but for those of one purpose."""
        await self._connection.execute(
            """
            UPDATE account_links SET used_at = now()
             WHERE user_id = %(user_id)s AND used_at IS NULL AND purpose IS DISTINCT FROM %(but)s
            """,
            user_id=user_id,
            but=but,
        )

    async def find_replaced_email(self, link_id: str) -> ReplacedEmail | None:
        """The address that an account had before the link changed it."""
        return await self._connection.fetch_one(
            ReplacedEmail,
            """
            SELECT link.replaced_email AS email, users.name
              FROM account_links AS link JOIN users ON users.id = link.user_id
             WHERE link.id = %(link_id)s AND link.replaced_email IS NOT NULL
            """,
            link_id=link_id,
        )

    async def request_reset(self, request_id: str, email: str) -> None:
        """Let a reset be due for whoever has this e-mail; one that waits for the same is enough."""
        await self._connection.execute(
            """
            INSERT INTO password_reset_requests (id, email, attempts, next_attempt_at, traceparent)
            VALUES (%(request_id)s, %(email)s, 0, now(), %(traceparent)s::text)
            ON CONFLICT DO NOTHING
            """,
            request_id=request_id,
            email=email,
        )

    async def end_reset_request(self, claimed: Claimed[str]) -> bool:
        """Forget a request; false when the claim is lost."""
        deleted = await self._connection.execute(
            f"DELETE FROM password_reset_requests WHERE {DUE_RESETS.still_claimed}",  # noqa: S608 - from constants
            **claimed.parameters,
        )
        return deleted == 1


def _to_issued(*, email: str, name: str, expires_at: datetime) -> tuple[str, str, datetime]:
    return email, name, expires_at


def _to_link(*, purpose: str, **columns: Any) -> Link:
    return Link(purpose=LinkPurpose(purpose), **columns)
