"""What of the user database is no history, and for how long it is kept.

Accounts stay, and who was erased. Requests to reset a password and adoptions are deleted when they are done, and rate
limits when they are full again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final, LiteralString

from domain.ids import LEAST_ID
from runtime.idempotency import key_rule
from runtime.outbox import outbox_rule
from runtime.retention import Rule, delete_by_key
from runtime.settings import Settings
from services.user.links.repository import WRITABLE_DAYS

_LINKS: Final = timedelta(days=30)
"""How long a link is kept that works no more: whoever opens it is told so."""

# The first token of a family says whether it is revoked, and every other one refers to it: it goes last. No EXISTS,
# which PostgreSQL would rather answer by reading all tokens once per batch.
_EXPIRED: Final[LiteralString] = """
    expires_at < now() - %(kept)s
    AND (id <> family_id
         OR (SELECT other.id FROM refresh_tokens AS other
              WHERE other.family_id = refresh_tokens.id AND other.id <> other.family_id LIMIT 1) IS NULL)
"""
_ENDED_SESSIONS: Final[LiteralString] = """
    WITH ended AS MATERIALIZED (
        SELECT id FROM refresh_tokens WHERE revoked_at < now() - %(kept)s ORDER BY revoked_at LIMIT %(limit)s
    ),
    old AS MATERIALIZED (
        SELECT token.id
          FROM ended CROSS JOIN LATERAL (
               SELECT id FROM refresh_tokens WHERE family_id = ended.id ORDER BY id = ended.id LIMIT %(limit)s) AS token
         LIMIT %(limit)s
    ),
    gone AS (
        DELETE FROM refresh_tokens WHERE id = ANY(ARRAY(SELECT id FROM old)) RETURNING revoked_at
    )
    SELECT count(*) AS deleted, max(revoked_at) AS horizon, count(*) = %(limit)s AS more, NULL AS after FROM gone
"""
_LINK_IS_OVER: Final[LiteralString] = f"""
    coalesce(expires_at, requested_at) < now() - %(kept)s
    AND requested_at < now() - %(kept)s - interval '{WRITABLE_DAYS} days'
"""


def rules(settings: Settings) -> Sequence[Rule]:
    """Of the tables from which rows are deleted.

    A refresh token whose row is gone is refused as one that nobody knows, where it was refused as expired, used or
    revoked before. That one was used twice is noticed as long as it would be valid: an older one opens nothing. The
    access tokens of a session that has ended have expired, too, before anybody forgets that it has.
    """
    ended = timedelta(seconds=settings.session_retention + settings.access_token_ttl)
    return [
        outbox_rule(timedelta(seconds=settings.outbox_retention)),
        key_rule(timedelta(seconds=settings.idempotency_key_retention)),
        delete_by_key(
            "refresh_tokens",
            key="id",
            key_type="uuid",
            first=LEAST_ID,
            at="expires_at",
            goes=_EXPIRED,
            kept=timedelta(seconds=settings.session_retention),
        ),
        Rule(name="sessions", table="refresh_tokens", kept=ended, statement=_ENDED_SESSIONS),
        delete_by_key(
            "account_links",
            key="id",
            key_type="uuid",
            first=LEAST_ID,
            at="requested_at",
            goes=_LINK_IS_OVER,
            kept=_LINKS,
        ),
    ]
