"""Each open refund has its saga, which knows of its last change, whenever Temporal was away."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.support.payment_harness import PaymentHarness

VISA, PENDING = "pm_card_visa", "pm_card_pendingRefund"


async def test_while_temporal_is_away_a_request_is_accepted_and_its_saga_is_started_later(
    harness: PaymentHarness,
) -> None:
    payment = await harness.opened(VISA)
    harness.sagas.is_away = True

    requested = await harness.request(payment, 600)
    in_vain = await harness.follow_up()
    unnotified = await harness.unnotified()
    [row] = await harness.rows("SELECT attempts, last_error FROM refunds WHERE id = %(id)s", id=requested.refund.id)
    harness.sagas.is_away = False
    too_soon = await harness.follow_up()
    await harness.make_follow_ups_due()
    due = await harness.follow_up()

    assert (unnotified, row) == ([requested.refund.id], {"attempts": 1, "last_error": "Temporal: UNAVAILABLE"})
    assert (in_vain, too_soon, due) == (1, 0, 1)
    assert harness.sagas.refunds == [(requested.refund.id, True)]
    assert await harness.unnotified() == []


async def test_a_version_whose_notification_was_lost_is_notified_later(harness: PaymentHarness) -> None:
    payment = await harness.opened(PENDING)
    refund = await harness.refunded(payment, 600)
    assert await harness.unnotified() == []
    harness.move_refund(refund.stripe_refund_id, "succeeded")
    harness.sagas.is_away = True
    await harness.hear("refund.updated")
    harness.sagas.is_away = False
    harness.sagas.refunds.clear()

    await harness.make_follow_ups_due()
    await harness.follow_up()
    await harness.make_follow_ups_due()
    await harness.follow_up()

    assert harness.sagas.refunds == [(refund.id, True), (refund.id, False)]


async def test_of_a_workflow_that_knows_all_it_is_only_made_sure_that_it_runs(harness: PaymentHarness) -> None:
    payment = await harness.opened(PENDING)
    refund = await harness.refunded(payment, 600)
    harness.sagas.refunds.clear()
    await harness.make_follow_ups_due()

    assert await harness.follow_up() == 1
    assert harness.sagas.refunds == [(refund.id, False)]


async def test_nothing_that_is_closed_is_followed_up(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)
    await harness.refunded(payment, 600)
    await harness.make_follow_ups_due()

    assert await harness.follow_up() == 0


@pytest.mark.parametrize(
    ("age", "expected"),
    [(timedelta(0), 10), (timedelta(seconds=90), 10), (timedelta(minutes=5), 30), (timedelta(days=9), 60)],
)
async def test_the_older_a_refund_the_later_it_is_looked_after_again(
    harness: PaymentHarness, age: timedelta, expected: int
) -> None:
    payment = await harness.opened(PENDING)
    refund = await harness.refunded(payment, 600)
    async with harness.database.autocommit() as connection:
        await connection.execute(
            "UPDATE refunds SET created_at = now() - %(age)s, next_attempt_at = now() WHERE id = %(id)s",
            age=age,
            id=refund.id,
        )

    await harness.follow_up()

    [row] = await harness.rows("SELECT next_attempt_at - now() AS later FROM refunds WHERE id = %(id)s", id=refund.id)
    assert expected - 5 < row["later"].total_seconds() < expected + 2


async def test_when_temporal_has_been_away_all_that_is_left_is_followed_up(harness: PaymentHarness) -> None:
    refunds = [(await harness.request(await harness.opened(PENDING), 600)).refund.id for _ in range(3)]
    harness.sagas.is_away = True
    await harness.follow_up()
    assert harness.sagas.refunds == []
    harness.sagas.is_away = False
    await harness.make_follow_ups_due()

    assert await harness.follow_up() == 3
    assert sorted(harness.sagas.refunds) == sorted((refund, True) for refund in refunds)


async def test_a_refund_that_temporal_refuses_for_good_is_postponed_and_the_rest_goes_on(
    harness: PaymentHarness,
) -> None:
    poisoned, *others = [(await harness.request(await harness.opened(PENDING), 600)).refund.id for _ in range(12)]
    harness.sagas.refused = {poisoned}

    for _ in range(2):
        await harness.follow_up()

    [row] = await harness.rows(
        "SELECT attempts, next_attempt_at > now() AS postponed, last_error FROM refunds WHERE id = %(id)s", id=poisoned
    )
    assert row == {"attempts": 1, "postponed": True, "last_error": "Temporal: INVALID_ARGUMENT"}
    assert sorted(harness.sagas.refunds) == sorted((refund, True) for refund in others)
    assert await harness.unnotified() == [poisoned]


async def test_a_saga_is_not_notified_of_what_it_was_just_answered(harness: PaymentHarness) -> None:
    payment = await harness.opened(PENDING)
    refund = (await harness.request(payment, 600)).refund
    await harness.follow_up()

    answered = (await harness.refund_service.carry_out(refund.id)).get_refund(refund.id)
    await harness.follow_up()

    assert answered.version > refund.version
    assert await harness.unnotified() == []
    assert harness.sagas.refunds == [(refund.id, True)]
