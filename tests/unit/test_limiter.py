"""A gateway's own half of the limits: it asks seldom, and never gives more than it may."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.rate_limits import DEFAULT_RATES, MICROSECONDS, Limit, Rate, parse_rates, widened
from runtime.limits.buckets import LEASE_LIFE, Buckets, bucket_key, lease_size, own_rate
from runtime.limits.limiter import Limiter, LimitExceeded
from tests.support.shared_buckets import Shared

ORDERS = Rate(40, 60)
"""A gateway gives 4 out by itself, and leases 2 at a time."""
LOGINS = Rate(3, 300)


@pytest.fixture
def shared() -> Shared:
    return Shared()


def gateway(shared: Shared, **rates: Rate) -> Limiter:
    given = rates or {"orders": ORDERS, "logins": LOGINS}
    return Limiter(shared, {Limit(name): rate for name, rate in given.items()}, clock=shared.clock)


async def served(limiter: Limiter, times: int, limit: Limit = Limit.ORDERS, **more: Any) -> int:
    """How many of so many requests at once."""
    count = 0
    for _ in range(times):
        try:
            await limiter.take(limit, "somebody", **more)
        except LimitExceeded:
            continue
        count += 1
    return count


async def test_whoever_asks_seldom_costs_no_call(shared: Shared) -> None:
    limiter = gateway(shared)

    for _ in range(20):
        assert await served(limiter, 1) == 1
        shared.now += 15 * MICROSECONDS

    assert shared.asked == []


async def test_permits_are_leased_and_denials_remembered(shared: Shared) -> None:
    limiter = gateway(shared)

    assert await served(limiter, 1_000) == ORDERS.count + 4

    assert len(shared.asked) == ORDERS.count // 2 + 1
    assert {request.wanted for request in shared.asked} == {2}


async def test_several_gateways_give_no_more_than_the_limit_and_their_own_shares(shared: Shared) -> None:
    gateways = [gateway(shared) for _ in range(3)]

    total = sum([await served(each, 2) for _ in range(100) for each in gateways])

    assert total == ORDERS.count + 3 * 4


async def test_logins_are_held_to_the_last_one(shared: Shared) -> None:
    gateways = [gateway(shared) for _ in range(3)]

    assert sum([await served(each, 1, Limit.LOGINS) for _ in range(10) for each in gateways]) == LOGINS.count


async def test_who_is_turned_away_is_told_for_how_long(shared: Shared) -> None:
    limiter = gateway(shared)
    await served(limiter, 3, Limit.LOGINS)

    with pytest.raises(LimitExceeded) as caught:
        await limiter.take(Limit.LOGINS, "somebody")

    standing = caught.value.standing
    assert (standing.limit, standing.rate, standing.remaining) == (Limit.LOGINS, LOGINS, 0)
    assert (standing.wait, standing.full_in) == (100, 300)
    shared.now += standing.wait * MICROSECONDS
    assert await served(limiter, 2, Limit.LOGINS) == 1


async def test_what_is_left_of_a_lease_is_worth_nothing_later(shared: Shared) -> None:
    limiter = gateway(shared, orders=Rate(100, 3_600))
    await served(limiter, 11)
    shared.now += LEASE_LIFE

    await served(limiter, 1)

    assert len(shared.asked) == 2


async def test_while_the_shared_buckets_are_away_each_gateway_holds_to_the_limit_alone(shared: Shared) -> None:
    limiter = gateway(shared)
    shared.is_away = True

    assert await served(limiter, 100) == ORDERS.count

    assert len(shared.asked) == 1
    shared.is_away = False
    shared.now += 2 * MICROSECONDS
    assert await served(limiter, 100, Limit.LOGINS) == LOGINS.count


async def test_what_the_shared_buckets_said_still_counts_when_they_go_away(shared: Shared) -> None:
    limiter = gateway(shared)
    await served(limiter, 2, Limit.LOGINS)
    shared.is_away = True

    assert await served(limiter, 5, Limit.LOGINS) == 1


async def test_a_denial_is_not_remembered_for_whoever_may_be_exempt(shared: Shared) -> None:
    limiter, owner = gateway(shared), b"o" * 16
    await served(limiter, 10, Limit.LOGINS)
    shared.exempt.add(owner)

    assert await served(limiter, 10, Limit.LOGINS, unless_exempt=owner) == 10
    assert await served(limiter, 10, Limit.LOGINS, unless_exempt=b"s" * 16) == 0


async def test_no_limit_is_no_limit(shared: Shared) -> None:
    assert await gateway(shared).take(Limit.READS, "somebody") is None


@given(plan=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30), st.integers(1, 20)), max_size=30))
async def test_whatever_the_traffic_the_gateways_give_no_more_than_they_may(
    plan: Sequence[tuple[int, int, int]],
) -> None:
    shared = Shared()
    gateways = [gateway(shared) for _ in range(3)]
    total = 0
    for which, seconds, requests in plan:
        shared.now += seconds * MICROSECONDS
        total += await served(gateways[which], requests)

    passed = shared.now // MICROSECONDS
    assert total <= ORDERS.count + 3 * 4 + passed * (ORDERS.count + 3 * 4) / ORDERS.seconds
    assert total >= min(sum(requests for *_, requests in plan), 1)


def test_only_so_many_buckets_are_remembered() -> None:
    buckets = Buckets(most=2)
    first = buckets.find(b"1")
    buckets.find(b"2")
    assert buckets.find(b"1") is first

    buckets.find(b"3")

    assert len(buckets) == 2
    assert buckets.find(b"1") is first


def test_a_bucket_is_somebodys_of_one_limit_and_says_not_whose() -> None:
    keys = {
        bucket_key(Limit.LOGINS, "a@example.test", "b"),
        bucket_key(Limit.LOGINS, "a@example.testb"),
        bucket_key(Limit.READS, "a@example.test", "b"),
    }
    assert len(keys) == 3
    assert all(len(key) == 16 for key in keys)


def test_every_default_is_asked_for_seldom_or_to_the_last() -> None:
    shares = {limit: (own_rate(limit, rate), lease_size(limit, rate)) for limit, rate in DEFAULT_RATES.items()}

    assert shares[Limit.ORDERS] == (Rate(3, 60), 1)
    assert shares[Limit.READS] == (Rate(60, 60), 30)
    assert shares[Limit.LOGINS_HERE] == (None, 1)


def test_rates_are_a_setting_over_the_defaults() -> None:
    rates = parse_rates({"orders": "5/10", "reads": None})

    assert rates[Limit.ORDERS] == Rate(5, 10)
    assert Limit.READS not in rates
    assert rates[Limit.LOGINS] == DEFAULT_RATES[Limit.LOGINS]
    assert parse_rates(widened(1_000))[Limit.SIGN_UPS] == Rate(20_000, 3_600)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"order": "5/10"}, "order is no limit; there are requests, sign-ups, "),
        ({"orders": "5"}, "orders: must be count/seconds, for example 30/60, or null for no limit, and not '5'"),
        ({"orders": "0/60"}, "orders: must be count/seconds"),
        ({"orders": "5/700000"}, "orders: a rate is at most 10000000 in at most 604800 seconds"),
    ],
)
def test_a_setting_that_is_no_rate_is_named(changes: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_rates(changes)
