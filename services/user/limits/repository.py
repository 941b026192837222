"""SQL of buckets. Each statement is a transaction of its own."""

from __future__ import annotations

from typing import Final

from domain.rate_limits import Rate
from runtime.database import Connection
from services.user.limits.model import Exempt, Permits

# The row's lock puts all who ask for a bucket in a line, so that no permit is given twice. Its clock is the database's.
# What the last one got is kept, because RETURNING sees no old row; so a bucket that has nothing says so as well.
_TAKE: Final = """
    WITH exempt AS (
        SELECT FROM rate_limit_exemptions WHERE key = %(unless)s AND ends_at > now()
    ),
    taken AS (
        INSERT INTO rate_limits AS held (bucket, full_at, granted)
        SELECT %(bucket)s, now() + permits * %(spacing)s::bigint * interval '1 microsecond', permits
          FROM (SELECT LEAST(%(wanted)s::integer, %(count)s::integer) AS permits) AS asked
         WHERE NOT EXISTS (SELECT FROM exempt)
        ON CONFLICT (bucket) DO UPDATE SET (full_at, granted) = (
            SELECT now() + (missing + permits * %(spacing)s::bigint) * interval '1 microsecond', permits
              FROM (SELECT GREATEST(extract(epoch FROM held.full_at - now()) * 1000000, 0)::bigint AS missing) AS state,
                   LATERAL (
                       SELECT LEAST(
                           %(wanted)s::integer,
                           GREATEST(0, %(count)s::bigint - (missing + %(spacing)s::bigint - 1) / %(spacing)s::bigint)
                       )::integer AS permits
                   ) AS answer
        )
        RETURNING granted, (extract(epoch FROM full_at - now()) * 1000000)::bigint AS full_in
    )
    SELECT granted, full_in FROM taken
"""
_EXEMPT: Final = """
    INSERT INTO rate_limit_exemptions AS held (key, ends_at)
    VALUES (%(key)s, now() + %(seconds)s * interval '1 second')
    ON CONFLICT (key) DO UPDATE SET ends_at = excluded.ends_at WHERE held.ends_at < excluded.ends_at
"""

# every user service prunes: none waits for what another one deletes, or a request takes from just now
_PRUNE: Final = """
    DELETE FROM rate_limits
     WHERE bucket IN (SELECT bucket FROM rate_limits WHERE full_at < now() FOR UPDATE SKIP LOCKED)
"""
_PRUNE_EXEMPTIONS: Final = """
    DELETE FROM rate_limit_exemptions
     WHERE key IN (SELECT key FROM rate_limit_exemptions WHERE ends_at < now() FOR UPDATE SKIP LOCKED)
"""


class LimitRepository:
    """Buckets, on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def take(self, bucket: bytes, rate: Rate, *, wanted: int, unless_exempt: bytes | None) -> Permits | Exempt:
        """Take as many permits as there are, `wanted` at most, unless whoever asks is exempt."""
        taken = await self._connection.fetch_one(
            Permits,
            _TAKE,
            bucket=bucket,
            count=rate.count,
            spacing=rate.spacing,
            wanted=wanted,
            unless=unless_exempt,
        )
        return Exempt() if taken is None else taken

    async def exempt(self, key: bytes, *, seconds: int) -> None:
        """Let whoever names the key take without being counted, for so long at least."""
        await self._connection.execute(_EXEMPT, key=key, seconds=seconds)

    async def prune(self) -> int:
        """Delete full buckets, which are like those that were never asked, and exemptions that have ended."""
        full = await self._connection.execute(_PRUNE)
        return full + await self._connection.execute(_PRUNE_EXEMPTIONS)
