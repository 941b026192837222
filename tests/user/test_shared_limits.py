"""Buckets of permits on a real PostgreSQL: one statement decides, whoever else asks at the same time."""

from __future__ import annotations

import asyncio
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.rate_limits import MICROSECONDS, Rate, available, take
from ordersaga.limits.v1 import limits_pb2 as pb
from ordersaga.limits.v1.limits_pb2_grpc import LimitsServiceStub
from runtime.caller import SERVICE
from runtime.database import Database
from runtime.refusal import CallRefused
from services.user.bootstrap import UserComponents
from services.user.limits.model import Exempt, Permits
from services.user.limits.server import limits_service
from services.user.limits.service import SharedLimits
from services.user.server import grpc_service
from tests.support.rpc import call, open_callers, serving

HOUR = 3_600
CONNECTIONS = 8
TIMEOUT = 30


@pytest.fixture
def limits(components: UserComponents) -> SharedLimits:
    return components.limits


def new_bucket() -> bytes:
    return os.urandom(16)


async def take_one(limits: SharedLimits, bucket: bytes, rate: Rate, **more: int) -> Permits:
    taken = await limits.take(bucket, rate, wanted=more.get("wanted", 1))
    assert isinstance(taken, Permits)
    return taken


async def pass_time(database: Database, bucket: bytes, *, microseconds: int) -> None:
    """As if so long had passed, for this bucket."""
    async with database.autocommit() as connection:
        await connection.execute(
            "UPDATE rate_limits SET full_at = full_at - %(us)s::bigint * interval '1 microsecond'"
            " WHERE bucket = %(bucket)s",
            us=microseconds,
            bucket=bucket,
        )


async def test_a_bucket_gives_what_it_has_and_says_when_it_is_full(limits: SharedLimits) -> None:
    bucket, rate = new_bucket(), Rate(3, HOUR)

    taken = [await take_one(limits, bucket, rate) for _ in range(5)]

    assert [each.granted for each in taken] == [1, 1, 1, 0, 0]
    assert taken[0].full_in == HOUR * MICROSECONDS // 3
    assert HOUR - 60 < taken[4].full_in / MICROSECONDS <= HOUR


async def test_of_many_wanted_it_gives_those_that_are_left(limits: SharedLimits) -> None:
    bucket, rate = new_bucket(), Rate(10, HOUR)

    assert (await take_one(limits, bucket, rate, wanted=7)).granted == 7
    assert (await take_one(limits, bucket, rate, wanted=7)).granted == 3
    assert (await take_one(limits, bucket, rate, wanted=7)).granted == 0
    assert (await take_one(limits, new_bucket(), rate, wanted=50)).granted == 10


async def test_whoever_asks_at_the_same_time_no_permit_is_given_twice(settings_of_many: SharedLimits) -> None:
    bucket, rate = new_bucket(), Rate(40, HOUR)

    taken = await asyncio.gather(*(take_one(settings_of_many, bucket, rate, wanted=1 + n % 3) for n in range(60)))

    assert sum(each.granted for each in taken) == 40


@pytest.fixture
def settings_of_many(database: Database) -> SharedLimits:
    """With as many connections as a service has, so that statements wait for each other in the database."""
    assert database.turns.at_once >= CONNECTIONS
    return SharedLimits(database)


async def test_one_that_is_denied_changes_nothing(limits: SharedLimits, database: Database) -> None:
    bucket, rate = new_bucket(), Rate(1, HOUR)
    await take_one(limits, bucket, rate)
    for _ in range(20):
        await take_one(limits, bucket, rate)

    await pass_time(database, bucket, microseconds=HOUR * MICROSECONDS)

    assert (await take_one(limits, bucket, rate)).granted == 1


RATES = st.builds(Rate, st.integers(1, 12), st.integers(HOUR, 7 * 24 * HOUR))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(rate=RATES, plan=st.lists(st.tuples(st.integers(0, 20), st.integers(1, 15)), max_size=15))
async def test_the_statement_decides_as_the_model_does(
    limits: SharedLimits, database: Database, rate: Rate, plan: list[tuple[int, int]]
) -> None:
    """Time passes in quarters of a permit, and an eighth: far from where it would decide, which is exact otherwise."""
    bucket = new_bucket()
    now = full_at = 0
    for quarters, wanted in plan:
        passing = quarters * rate.spacing // 4 + rate.spacing // 8
        now += passing
        await pass_time(database, bucket, microseconds=passing)

        expected = take(rate, full_at=full_at, now=now, wanted=wanted)
        taken = await take_one(limits, bucket, rate, wanted=wanted)

        assert taken.granted == expected.granted
        full_at = expected.full_at


@given(rate=RATES, times=st.lists(st.integers(0, 10**11), min_size=1, max_size=50).map(sorted))
def test_in_no_window_are_more_permits_given_than_the_rate_says(rate: Rate, times: list[int]) -> None:
    full_at, given_at = -(10**12), []
    for now in times:
        taken = take(rate, full_at=full_at, now=now)
        full_at = taken.full_at
        given_at += [now] * taken.granted

    for first, start in enumerate(given_at):
        for last, end in enumerate(given_at[first:], first):
            assert last - first + 1 <= rate.count + (end - start) // rate.spacing
    assert available(rate, full_at=-(10**12), now=0) == rate.count


async def test_who_is_exempt_is_not_counted_and_others_are(limits: SharedLimits, database: Database) -> None:
    bucket, rate, owner = new_bucket(), Rate(1, HOUR), new_bucket()
    await take_one(limits, bucket, rate)

    await limits.exempt(owner, seconds=HOUR)

    assert isinstance(await limits.take(bucket, rate, wanted=1, unless_exempt=owner), Exempt)
    assert await limits.take(bucket, rate, wanted=1, unless_exempt=new_bucket()) != Exempt()
    async with database.autocommit() as connection:
        await connection.execute("UPDATE rate_limit_exemptions SET ends_at = now() WHERE key = %(key)s", key=owner)
    assert await limits.take(bucket, rate, wanted=1, unless_exempt=owner) != Exempt()


async def test_a_repeated_exemption_never_ends_sooner(limits: SharedLimits, database: Database) -> None:
    owner = new_bucket()
    await limits.exempt(owner, seconds=2 * HOUR)
    await limits.exempt(owner, seconds=1)

    async with database.autocommit() as connection:
        left = await connection.fetch_value(
            "SELECT ends_at > now() + interval '1 hour' FROM rate_limit_exemptions WHERE key = %(key)s", key=owner
        )
    assert left is True


async def test_what_says_nothing_any_more_is_pruned(limits: SharedLimits, database: Database) -> None:
    full, held, ended = new_bucket(), new_bucket(), new_bucket()
    for bucket in (full, held):
        await take_one(limits, bucket, Rate(1, HOUR))
    await limits.exempt(ended, seconds=1)
    await pass_time(database, full, microseconds=HOUR * MICROSECONDS)
    async with database.autocommit() as connection:
        await connection.execute("UPDATE rate_limit_exemptions SET ends_at = now() WHERE key = %(key)s", key=ended)

    await limits.prune()

    async with database.autocommit() as connection:
        left = await connection.fetch_all(
            lambda bucket: bytes(bucket),
            "SELECT bucket FROM rate_limits WHERE bucket IN (%(full)s, %(held)s)"
            " UNION ALL SELECT key FROM rate_limit_exemptions WHERE key = %(ended)s",
            full=full,
            held=held,
            ended=ended,
        )
    assert left == [held]


async def test_a_service_that_prunes_does_not_wait_for_another_one_that_does(
    limits: SharedLimits, database: Database
) -> None:
    bucket = new_bucket()
    await take_one(limits, bucket, Rate(1, HOUR))
    await pass_time(database, bucket, microseconds=HOUR * MICROSECONDS)

    async with database.transaction() as other:
        await other.execute("DELETE FROM rate_limits WHERE bucket = %(bucket)s", bucket=bucket)
        async with asyncio.timeout(TIMEOUT):
            await limits.prune()


async def test_gateways_ask_over_grpc(components: UserComponents) -> None:
    beside = limits_service(components.limits)
    service = grpc_service(components)
    async with serving(service, beside) as address, open_callers(service.part, address) as channel:
        stub = LimitsServiceStub(channel)
        request = pb.TakePermitsRequest(bucket=new_bucket(), count=2, seconds=HOUR, wanted=5)

        taken = await call(stub.TakePermits, request, caller=SERVICE)

        assert (taken.granted, taken.exempt) == (2, False)
        assert taken.full_in_us == HOUR * MICROSECONDS
        key = new_bucket()
        await call(stub.AddExemption, pb.AddExemptionRequest(key=key, seconds=60), caller=SERVICE)
        request.unless_exempt = key
        exempt = await call(stub.TakePermits, request, caller=SERVICE)
        assert (exempt.granted, exempt.exempt) == (5, True)
        faulty = pb.TakePermitsRequest(bucket=b"x", unless_exempt=b"x")
        with pytest.raises(CallRefused, match="5 field"):
            await call(stub.TakePermits, faulty, caller=SERVICE)
