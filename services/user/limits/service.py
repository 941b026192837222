"""Use cases of the shared limits."""

from __future__ import annotations

from typing import Final

from domain.rate_limits import Rate
from runtime.database import Database
from services.user.limits.model import Exempt, Permits
from services.user.limits.repository import LimitRepository

PRUNE_INTERVAL: Final = 60.0
"""Seconds from one pruning to the next."""


class SharedLimits:
    """Buckets of permits that all gateways take from."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(
        self, bucket: bytes, rate: Rate, *, wanted: int, unless_exempt: bytes | None = None
    ) -> Permits | Exempt:
        """Take as many permits as the bucket has, `wanted` at most."""
        async with self._database.autocommit() as connection:
            return await LimitRepository(connection).take(bucket, rate, wanted=wanted, unless_exempt=unless_exempt)

    async def exempt(self, key: bytes, *, seconds: int) -> None:
        """Let whoever names the key take without being counted, for so long at least."""
        async with self._database.autocommit() as connection:
            await LimitRepository(connection).exempt(key, seconds=seconds)

    async def prune(self) -> int:
        """Delete the rows that say nothing any more; how many those were."""
        async with self._database.autocommit() as connection:
            return await LimitRepository(connection).prune()
