"""What a gateway knows by itself of the buckets that it asks for: so few requests have to ask the shared ones.

A bucket's state is one of three: what the gateway may give out by itself, what it has leased from the shared bucket and
not given out yet, and until when the shared bucket has nothing. Times are microseconds of a clock that never goes back.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

from domain.rate_limits import Limit, Rate, available, take

_KEY_BYTES: Final = 16
_EXACT: Final = frozenset(
    {
        *(Limit.SIGN_UPS, Limit.LOGINS, Limit.LOGINS_HERE, Limit.LOGINS_ELSEWHERE),
        *(Limit.GUEST_ORDERS, Limit.GUEST_ORDERS_FOR, Limit.GUEST_LINKS, Limit.GUEST_LINKS_FOR),
    }
)
"""Limits that are held to the last permit: each one is asked for."""
_OWN_SHARE: Final = 10
"""Of the other limits each gateway gives out a tenth by itself, so that whoever asks seldom costs no call."""
_LEASE_SHARE: Final = 20
LEASE_LIFE: Final = 10_000_000
"""Microseconds after which leased permits are not given out any more: whoever left them does not come back for them."""
MOST_BUCKETS: Final = 50_000
"""Known at a time, about 20 MB; the one that was not asked for longest is forgotten, and asked for again."""


def bucket_key(limit: Limit, *whose: str) -> bytes:
    """What a bucket is called where it is shared: nobody can read whose it is."""
    return blake2b("\0".join((limit.value, *whose)).encode(), digest_size=_KEY_BYTES).digest()


def own_rate(limit: Limit, rate: Rate) -> Rate | None:
    """What a gateway gives out of a limit by itself; None if it asks for every permit."""
    share = 0 if limit in _EXACT else rate.count // _OWN_SHARE
    return Rate(share, rate.seconds) if share else None


def lease_size(limit: Limit, rate: Rate) -> int:
    """Permits that a gateway asks for at once."""
    return 1 if limit in _EXACT else max(1, rate.count // _LEASE_SHARE)


@dataclass(slots=True)
class Bucket:
    """One bucket as the gateway knows it.

    Attributes:
        full_at: when the shared one is full, as far as is known here; it alone decides while nobody can be asked.
        own_full_at: the same of what the gateway gives out by itself.
        leased: permits that are left of the last lease.
        lease_ends: when they are worth nothing.
        denied_until: when the shared one has a permit again.
        asking: held by the request that asks for this bucket; the others wait for what it is told.
    """

    full_at: int = 0
    own_full_at: int = 0
    leased: int = 0
    lease_ends: int = 0
    denied_until: int = 0
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    def take_own(self, rate: Rate | None, whole: Rate, *, now: int) -> bool:
        """Give a permit out without asking."""
        if rate is None:
            return False
        taken = take(rate, full_at=self.own_full_at, now=now)
        self.own_full_at = taken.full_at
        if taken.granted:
            self.full_at = max(self.full_at, now) + whole.spacing
        return bool(taken.granted)

    def take_leased(self, *, now: int) -> bool:
        """Give a permit of the last lease out."""
        if self.leased == 0 or self.lease_ends <= now:
            self.leased = 0
            return False
        self.leased -= 1
        return True

    def take_alone(self, rate: Rate, *, now: int) -> bool:
        """Give a permit out by what is known here, while nobody can be asked."""
        taken = take(rate, full_at=self.full_at, now=now)
        self.full_at = taken.full_at
        return bool(taken.granted)

    def remaining(self, rate: Rate, *, now: int) -> int:
        """Permits that are left, as far as is known here."""
        return min(rate.count, available(rate, full_at=self.full_at, now=now) + self.leased)


class Buckets:
    """The buckets that are known, the ones that were asked for last."""

    def __init__(self, most: int = MOST_BUCKETS) -> None:
        self._most = most
        self._buckets: OrderedDict[bytes, Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def find(self, key: bytes) -> Bucket:
        """The bucket, a new one if it is not known."""
        bucket = self._buckets.get(key)
        if bucket is not None:
            self._buckets.move_to_end(key)
            return bucket
        if len(self._buckets) >= self._most:
            self._buckets.popitem(last=False)
        bucket = self._buckets[key] = Bucket()
        return bucket
