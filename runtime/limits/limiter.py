"""Asking for permits: here first, then of the bucket that all gateways share."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from domain.rate_limits import MICROSECONDS, Limit, Rate, Rates, wait_for_one
from ordersaga.limits.v1 import limits_pb2 as pb
from ordersaga.limits.v1.limits_pb2_grpc import LimitsServiceStub
from runtime.caller import ANONYMOUS
from runtime.deadline import outside_calls
from runtime.limits.buckets import LEASE_LIFE, Bucket, Buckets, bucket_key, lease_size, own_rate
from runtime.metrics import HTTP_LIMITED, LIMITS_UNSHARED
from runtime.refusal import CallRefused
from runtime.rpc_client import ServiceUnavailable, call

log = structlog.stdlib.get_logger(__name__)

PATIENCE: Final = 0.5
"""Seconds that the shared bucket gets to answer: an order must not wait for a limit."""
_PAUSE: Final = 1_000_000
"""Microseconds after a failure in which nobody asks again."""


class SharedBuckets(Protocol):
    """Where the shared buckets are asked: `api.services.Services` is one."""

    @property
    def limits(self) -> LimitsServiceStub:
        """The service that has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a client stands with a limit: for the RateLimit headers.

    Attributes:
        remaining: permits that are left, as far as is known here.
        full_in: seconds until all are back.
        wait: seconds until there is one, when there was none.
    """

    limit: Limit
    rate: Rate
    remaining: int
    full_in: int
    wait: int = 0


class LimitExceeded(Exception):
    """There was no permit."""

    def __init__(self, standing: Standing) -> None:
        super().__init__(f"{standing.limit}: none left, wait {standing.wait} s")
        self.standing = standing


def monotonic_us() -> int:
    """Microseconds of a clock that never goes back."""
    return time.monotonic_ns() // 1_000


class Limiter:
    """Decides who may ask now. While the shared buckets are away each gateway decides by itself.

    Args:
        shared: where they are.
        rates: the limits that there are.
        patience: seconds that they get to answer.
        clock: microseconds.
    """

    def __init__(
        self,
        shared: SharedBuckets,
        rates: Rates,
        *,
        patience: float = PATIENCE,
        clock: Callable[[], int] = monotonic_us,
    ) -> None:
        self._shared = shared
        self.rates = rates
        self._patience = patience
        self._clock = clock
        self._buckets = Buckets()
        self._own = {limit: own_rate(limit, rate) for limit, rate in rates.items()}
        self._away_until = 0

    async def take(self, limit: Limit, *whose: str, unless_exempt: bytes | None = None) -> Standing | None:
        """Take one permit of somebody's.

        Args:
            limit: what is limited.
            whose: an address, an account, or both.
            unless_exempt: who has an exemption by this key is not counted.

        Returns:
            How they stand now; None where nothing is limited or counted.

        Raises:
            LimitExceeded: there was none.
        """
        rate = self.rates.get(limit)
        if rate is None:
            return None
        key = bucket_key(limit, *whose)
        bucket = self._buckets.find(key)
        if self._takes_here(limit, rate, bucket, may_deny=unless_exempt is None):
            return self._standing(limit, rate, bucket)
        async with bucket.asking:
            if self._takes_here(limit, rate, bucket, may_deny=unless_exempt is None):  # by what another was told
                return self._standing(limit, rate, bucket)
            if await self._ask(limit, rate, key, bucket, unless_exempt=unless_exempt):
                return None
        return self._standing(limit, rate, bucket)

    async def exempt(self, key: bytes, *, seconds: int) -> None:
        """Let whoever names the key not be counted, for so long; without the shared buckets nothing happens."""
        try:
            request = pb.AddExemptionRequest(key=key, seconds=seconds)
            with outside_calls():
                await call(self._shared.limits.AddExemption, request, caller=ANONYMOUS, deadline=self._patience)
        except (ServiceUnavailable, CallRefused) as problem:
            log.warning("limits.exemption_lost", problem=str(problem))

    def _takes_here(self, limit: Limit, rate: Rate, bucket: Bucket, *, may_deny: bool) -> bool:
        """Whether there is a permit here.

        Raises:
            LimitExceeded: it is known that the shared bucket has none either.
        """
        now = self._clock()
        if bucket.denied_until > now and may_deny:
            raise self._denied(limit, rate, bucket)
        return bucket.take_leased(now=now) or bucket.take_own(self._own[limit], rate, now=now)

    async def _ask(self, limit: Limit, rate: Rate, key: bytes, bucket: Bucket, *, unless_exempt: bytes | None) -> bool:
        """Take a permit of the shared bucket, and a few more for those who come next; whether nothing was counted.

        Raises:
            LimitExceeded: there was none.
        """
        answer = await self._call(rate, key, wanted=lease_size(limit, rate), unless_exempt=unless_exempt)
        now = self._clock()
        if answer is None:
            if not bucket.take_alone(rate, now=now):
                raise self._denied(limit, rate, bucket)
            return False
        if answer.exempt:
            return True
        bucket.full_at = now + answer.full_in_us
        if answer.granted == 0:
            bucket.denied_until = now + wait_for_one(rate, full_at=bucket.full_at, now=now)
            raise self._denied(limit, rate, bucket)
        bucket.leased, bucket.lease_ends = answer.granted - 1, now + LEASE_LIFE
        return False

    async def _call(
        self, rate: Rate, key: bytes, *, wanted: int, unless_exempt: bytes | None
    ) -> pb.TakePermitsResponse | None:
        """What the shared bucket says; None while it cannot be asked."""
        if self._clock() < self._away_until:
            LIMITS_UNSHARED.inc()
            return None
        request = pb.TakePermitsRequest(
            bucket=key,
            count=rate.count,
            seconds=rate.seconds,
            wanted=wanted,
            unless_exempt=unless_exempt or b"",
        )
        try:
            with outside_calls():  # if it is turned away later, nothing was begun of what somebody asked for
                return await call(self._shared.limits.TakePermits, request, caller=ANONYMOUS, deadline=self._patience)
        except (ServiceUnavailable, CallRefused) as problem:
            if self._clock() >= self._away_until:
                log.warning("limits.unshared", problem=str(problem))
            self._away_until = self._clock() + _PAUSE
            LIMITS_UNSHARED.inc()
            return None

    def _standing(self, limit: Limit, rate: Rate, bucket: Bucket) -> Standing:
        now = self._clock()
        return Standing(
            limit=limit,
            rate=rate,
            remaining=bucket.remaining(rate, now=now),
            full_in=_seconds(bucket.full_at - now),
        )

    def _denied(self, limit: Limit, rate: Rate, bucket: Bucket) -> LimitExceeded:
        HTTP_LIMITED.labels(limit.value).inc()
        now = self._clock()
        wait = max(wait_for_one(rate, full_at=bucket.full_at, now=now), bucket.denied_until - now)
        return LimitExceeded(
            Standing(
                limit=limit,
                rate=rate,
                remaining=0,
                full_in=_seconds(bucket.full_at - now),
                wait=max(1, _seconds(wait)),
            )
        )


def _seconds(microseconds: int) -> int:
    """Whole seconds, rounded up: whoever waits for so long has waited long enough."""
    return max(0, math.ceil(microseconds / MICROSECONDS))
