"""The list of what needs a person: raised and cleared by sagas, kept by looks, acted on by operators."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from domain.concerns import DISPUTE_STEP, WORKFLOW_STEP, ConcernKind
from domain.ids import new_id
from domain.orders import OrderStatus
from runtime.on_call import Concern
from services.order.attention.model import SAGA, WATCHER, Wanted
from services.order.attention.repository import OPEN_ORDERS
from services.order.errors import NothingToDecide, OrderNotFound
from tests.support.order_shop import OrderShop
from tests.support.rows import fetch_rows

NOW = datetime(2026, 11, 30, 3, 0, tzinfo=UTC)
EPISODES = """
    SELECT cause, raised_by, cleared_by, cleared_at IS NULL FROM concerns WHERE subject_id = %(id)s ORDER BY id
"""
ADA = "operator:ada"


def concern(subject_id: str, *, step: str = "reserve", cause: str = "away", **others: object) -> Concern:
    values = {"kind": ConcernKind.ORDER, "order_id": None, "since": NOW, **others}
    return Concern(subject_id=subject_id, step=step, cause=cause, **values)  # type: ignore[arg-type]  # as given


async def raise_for(shop: OrderShop, order_id: str, cause: str, *, step: str = "reserve") -> None:
    await shop.attention.raise_for_step(
        kind=ConcernKind.ORDER, subject_id=order_id, order_id=order_id, step=step, cause=cause
    )


async def causes(shop: OrderShop, *subjects: str) -> list[str]:
    found = [await shop.attention.find_of_subject(subject) for subject in subjects]
    return [each.cause for concerns in found for each in concerns]


async def test_it_is_open_once_with_the_last_cause_and_who_cleared_it_is_kept(shop: OrderShop) -> None:
    order_id = await shop.received()

    await raise_for(shop, order_id, "first")
    await raise_for(shop, order_id, "second")
    await shop.attention.clear(kind=ConcernKind.ORDER, subject_id=order_id, step="reserve")
    await raise_for(shop, order_id, "third")

    assert await fetch_rows(shop.database, EPISODES, id=order_id) == [
        ("second", SAGA, SAGA, False),
        ("third", SAGA, None, True),
    ]


async def test_it_is_refused_for_an_order_that_does_not_exist(shop: OrderShop) -> None:
    with pytest.raises(OrderNotFound):
        await raise_for(shop, new_id(), "away")


async def test_a_look_raises_renews_and_clears_only_what_it_looked_at_and_raised_itself(shop: OrderShop) -> None:
    order_id = await shop.received()
    first, second, other = new_id(), new_id(), new_id()
    await raise_for(shop, order_id, "a saga says so")

    async def look(*found: Concern, subjects: list[str]) -> None:
        await shop.attention.reconcile(found, raised_by=WATCHER, kinds=[ConcernKind.ORDER], subjects=subjects)

    await look(concern(other, cause="stays"), subjects=[other])
    await look(concern(first), concern(second), subjects=[first, second, order_id])
    await look(concern(first, cause="worse", attempts=3), subjects=[first, second, order_id])

    assert await causes(shop, first, second, order_id, other) == ["worse", "a saga says so", "stays"]
    assert await fetch_rows(shop.database, EPISODES, id=second) == [("away", WATCHER, WATCHER, False)]


async def test_a_list_is_read_page_by_page_and_by_what_is_wanted(empty_shop: OrderShop) -> None:
    shop, subjects = empty_shop, [new_id() for _ in range(5)]
    found = [concern(subject, step="reserve" if index % 2 else "release") for index, subject in enumerate(subjects)]
    await shop.attention.reconcile(found, raised_by=WATCHER, kinds=[ConcernKind.ORDER], subjects=None)

    first = await shop.attention.list_open(Wanted(kind=ConcernKind.ORDER), page_size=3)
    second = await shop.attention.list_open(Wanted(kind=ConcernKind.ORDER, after=first.concerns[-1].id), page_size=3)
    released = await shop.attention.list_open(Wanted(step="release"), page_size=10)
    refunds = await shop.attention.list_open(Wanted(kind=ConcernKind.REFUND), page_size=10)

    assert sorted(each.subject_id for each in (*first.concerns, *second.concerns)) == sorted(subjects)
    assert (first.has_more, second.has_more) == (True, False)
    assert {each.subject_id for each in released.concerns} == set(subjects[::2])
    assert refunds.concerns == []


async def test_what_orders_needed_that_have_closed_since_is_cleared(shop: OrderShop) -> None:
    open_id, closed_id = await shop.pending(), await shop.pending()
    for order_id in (open_id, closed_id):
        await raise_for(shop, order_id, "away")
    await shop.close(closed_id, OrderStatus.FAILED)

    await shop.attention.clear_closed_orders()

    assert await causes(shop, open_id, closed_id) == ["away"]


async def test_what_an_operator_does_is_kept_with_who_and_why(shop: OrderShop) -> None:
    order_id, refund_id = await shop.pending(), new_id()
    await raise_for(shop, order_id, "refused")
    await shop.attention.raise_for_step(
        kind=ConcernKind.REFUND, subject_id=refund_id, order_id=order_id, step="carry_out_refund", cause="failed"
    )

    await shop.components.desk.retry(order_id, actor=ADA, note="the shelf was counted")
    await shop.components.desk.resolve(refund_id, actor=ADA, note="paid out by hand")
    await shop.components.desk.repair(order_id, actor=ADA, note="")
    actions = await shop.attention.find_actions(order_id)

    assert shop.sagas.decisions == [("retry", f"order-{order_id}", ADA), ("resolve", f"refund-{refund_id}", ADA)]
    assert [(each.action, each.kind, each.actor, each.note) for each in actions] == [
        ("retry", ConcernKind.ORDER, ADA, "the shelf was counted"),
        ("resolve", ConcernKind.REFUND, ADA, "paid out by hand"),
        ("repair", ConcernKind.ORDER, ADA, ""),
    ]


@pytest.mark.parametrize("action", ["retry", "resolve"])
async def test_what_nobody_can_do_anything_about_is_refused_with_what_can_be_done(shop: OrderShop, action: str) -> None:
    act, lost = getattr(shop.components.desk, action), await shop.pending()
    await raise_for(shop, lost, "gone", step=WORKFLOW_STEP)
    part = Concern(kind=ConcernKind.PART, subject_id=f"part-{action}", step="away", cause="away", since=NOW)
    await shop.attention.reconcile([part], raised_by=WATCHER, kinds=[ConcernKind.PART], subjects=[part.subject_id])

    disputed = Concern(kind=ConcernKind.DISPUTE, subject_id=f"du_{action}", step=DISPUTE_STEP, cause="why", since=NOW)
    await shop.attention.reconcile([disputed], raised_by=WATCHER, kinds=[disputed.kind], subjects=[disputed.subject_id])

    for subject_id, hint in (
        (lost, f"ordersaga repair {lost}"),
        (part.subject_id, "doctor"),
        (disputed.subject_id, "the bank decides"),
        (new_id(), "no order"),
    ):
        with pytest.raises(NothingToDecide, match=hint):
            await act(subject_id, actor=ADA, note="")

    assert shop.sagas.decisions == []


async def test_how_long_an_order_stands_is_measured_by_the_clock_of_its_database(shop: OrderShop) -> None:
    order_id = await shop.received()
    await shop.mark_pending(order_id, payment_deadline=datetime(2020, 1, 1, tzinfo=UTC))

    async def read() -> tuple[timedelta, timedelta | None]:
        after = None
        while orders := await shop.attention.find_open_orders(after=after, limit=100):
            for order in orders:
                if order.id == order_id:
                    return order.stood, order.overdue
            after = orders[-1].id
        raise AssertionError("the order is not among the open ones")

    stood, overdue = await read()
    assert timedelta(0) <= stood < timedelta(minutes=10)
    assert overdue is not None
    assert stood - overdue == timedelta(seconds=900)


CLOSED = """
    INSERT INTO orders (id, number, user_id, status, currency, refunded, payment_window_seconds, shipping_address, seq,
                        created_at, updated_at, attempts, next_attempt_at)
    SELECT gen_random_uuid(), number, gen_random_uuid(), 'PAID', 'EUR', 0, 900, '{}', 3, now(), now(), 0, now()
      FROM generate_series(1, 20000) AS number
"""


async def test_the_look_at_open_orders_reads_no_closed_one(empty_shop: OrderShop) -> None:
    await empty_shop.pending()
    async with empty_shop.database.autocommit() as connection:
        await connection.execute(CLOSED)
        await connection.execute("ANALYZE orders")
        plan: list[dict[str, str]] = await connection.fetch_all(dict, f"EXPLAIN {OPEN_ORDERS}", after=None, limit=100)
        await connection.execute("TRUNCATE orders CASCADE")

    lines = [row["QUERY PLAN"] for row in plan]
    assert any(re.search("ix_orders_(open|held|status_id)", line) for line in lines)  # none of them reads a closed one
    assert not any("Seq Scan" in line for line in lines)
