"""New orders are let in as long as they can begin in time; what was accepted before is served whatever comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from itertools import pairwise
from typing import Final

import pytest
import pytest_asyncio

from domain.ids import new_id
from domain.orders import OrderStatus
from domain.saga import OrderInput
from runtime.caller import Caller, CallerRole
from runtime.database import Database
from runtime.deadline import has_begun, set_time_left
from runtime.refusal import Shed
from runtime.settings import Settings
from services.order.admission import (
    ASK_INTERVAL,
    FEW,
    KNOWN_FOR,
    LONGEST_RETRY,
    LOOK_INTERVAL,
    NEW_FOR,
    PACE_INTERVAL,
    Admission,
)
from services.order.repository import _LINE
from tests.support.moved_clock import MovedClock
from tests.support.order_shop import OrderShop, new_order, open_order_shop
from tests.support.rows import fetch_rows

MANY: Final = 2 * FEW
MAX_DELAY: Final = Settings.model_fields["max_start_delay"].default
PATIENCE: Final = MAX_DELAY + 0.1
"""Seconds: longer than half of the line may have waited by default."""
LATE: Final = Settings.model_fields["max_loop_lag"].default + 0.1
"""Seconds that the event loop is late: more than it may be by default."""


class Door:
    """What two copies of an order service let in; orders wait no longer until a test moves the clock."""

    def __init__(self, shop: OrderShop, clock: MovedClock) -> None:
        self.shop = shop
        self._clock = clock
        self._now = 0.0
        self.copies = [self._copy(), self._copy()]

    def move(self, seconds: float) -> None:
        """Let so much time pass, in which no order moves."""
        self._clock.move(seconds=seconds)

    def pause(self, seconds: float) -> None:
        """Let nobody look for so long."""
        self._now += seconds

    async def reasons(self) -> list[str]:
        """Why each copy turns new orders away; empty where it does not."""
        await self.look()  # has Temporal asked, whose answer the next look knows
        return await self.look()

    async def look(self) -> list[str]:
        """The same, by what they knew of Temporal before."""
        self._now += max(LOOK_INTERVAL, ASK_INTERVAL, PACE_INTERVAL)
        found = [await copy.find_reason() for copy in self.copies]
        await asyncio.sleep(0)
        return ["" if reason is None else reason.why for reason in found]

    async def see_begin(self, orders: Sequence[str]) -> None:
        """Let the copies see so many orders of a line begin in a second, and the others wait for a while."""
        await self.look()  # there is a line, and Temporal is asked
        await self.look()
        for order_id in orders:
            await self.shop.mark_pending(order_id)
        self.move(MAX_DELAY / 3)
        await self.look()

    async def come(self, copy: Admission, count: int) -> list[Shed]:
        """So many orders come at once: how those were told so that were turned away."""
        answers = [await copy.find_reason() for _ in range(count)]
        return [answer for answer in answers if answer is not None]

    def _copy(self) -> Admission:
        components = self.shop.components
        return Admission(
            components.database,
            components.sagas,
            components.loop_lag,
            components.admission.limits,
            clock=self._clock,
            now=lambda: self._now,
        )


@pytest_asyncio.fixture
async def door(databases: Mapping[str, str]) -> AsyncIterator[Door]:
    database, clock = Database(databases["order"], pool_size=4), MovedClock()
    async with database.autocommit() as connection:
        await connection.execute("TRUNCATE orders, concerns, actions CASCADE")
    async with open_order_shop(databases["order"], database=database, clock=clock) as shop:
        yield Door(shop, clock)
    await database.close()


async def line_up(door: Door, count: int) -> list[str]:
    """Orders that were accepted, whose sagas wait for a worker."""
    orders = [await door.shop.received() for _ in range(count)]
    door.shop.sagas.waiting = count
    return orders


async def test_every_copy_closes_once_half_of_a_new_line_has_waited_for_too_long(door: Door) -> None:
    await line_up(door, MANY)
    assert await door.reasons() == ["", ""]

    door.move(PATIENCE)

    assert await door.reasons() == ["orders_wait", "orders_wait"]


async def test_it_is_half_of_a_new_line_that_counts_and_not_the_one_who_waits_for_longest(door: Door) -> None:
    await line_up(door, MANY // 2 - 1)
    door.shop.sagas.waiting = 0  # or those who come next would be turned away
    door.move(60)
    await line_up(door, MANY // 2 + 1)

    assert await door.reasons() == ["", ""]


async def test_as_many_come_in_as_begin_in_time_behind_those_in_line(door: Door) -> None:
    orders = await line_up(door, MANY)
    begun, waiting = 15, MANY - 15
    door.shop.sagas.waiting = waiting
    await door.see_begin(orders[:begun])

    room = begun * MAX_DELAY - waiting
    assert [MANY - len(await door.come(copy, MANY)) for copy in door.copies] == [room - 1] * 2  # one has just come in
    await line_up(door, waiting)
    assert await door.look() == ["orders_wait", "orders_wait"]


async def test_what_begins_makes_room_and_a_short_line_makes_none_for_all_who_come_again(door: Door) -> None:
    orders = await line_up(door, MANY)
    await door.see_begin([])
    assert await door.look() == ["orders_wait", "orders_wait"]  # none has begun
    for order_id in orders[: MANY - FEW + 3]:
        await door.shop.mark_pending(order_id)
    door.shop.sagas.waiting = 0

    door.pause(2 * LOOK_INTERVAL)

    assert [MANY - len(await door.come(copy, MANY)) for copy in door.copies] == [2, 2]


async def test_a_line_that_has_just_come_has_no_room_for_all_who_come_again(door: Door) -> None:
    orders = await line_up(door, MANY)
    await door.see_begin([])
    assert await door.look() == ["orders_wait", "orders_wait"]
    for order_id in orders:
        await door.shop.mark_pending(order_id)

    await line_up(door, FEW - 1)
    door.pause(2 * LOOK_INTERVAL)

    assert [len(await door.come(copy, MANY)) for copy in door.copies] == [MANY, MANY]


async def test_all_come_in_again_once_nobody_was_turned_away_for_a_while(door: Door) -> None:
    orders = await line_up(door, MANY)
    await door.see_begin([])
    assert await door.look() == ["orders_wait", "orders_wait"]
    for order_id in orders[FEW // 2 :]:
        await door.shop.mark_pending(order_id)
    door.pause(KNOWN_FOR)

    assert await door.look() == ["", ""]  # by what it knew; now it has looked
    await door.look()

    assert [len(await door.come(copy, MANY)) for copy in door.copies] == [0, 0]


async def test_who_is_turned_away_is_told_to_come_again_one_after_the_other(door: Door) -> None:
    orders = await line_up(door, MANY)
    begun = FEW // 4
    await door.see_begin(orders[:begun])
    assert await door.look() == ["orders_wait", "orders_wait"]

    shed = await door.come(door.copies[0], 100)

    told = [each.retry_after for each in shed if each.retry_after is not None]
    steps = [later - earlier for earlier, later in pairwise(told)]
    assert len(told) == 100
    assert 1 <= told[0] < 2
    assert steps[:50] == pytest.approx([1 / begun / 2] * 50)
    assert told[-1] < LONGEST_RETRY


async def test_where_none_begins_they_come_again_late_and_not_never(door: Door) -> None:
    await line_up(door, MANY)
    await door.see_begin([])

    told = [each.retry_after for each in await door.come(door.copies[0], 3)]

    assert told[1:] == [LONGEST_RETRY] * 2


async def test_orders_that_have_stood_still_for_long_take_no_room(door: Door) -> None:
    await line_up(door, MANY)
    door.move(NEW_FOR * MAX_DELAY + 1)
    orders = await line_up(door, MANY)
    begun, waiting = 15, MANY - 15
    door.shop.sagas.waiting = waiting
    await door.see_begin(orders[:begun])

    room = begun * MAX_DELAY - waiting
    assert [MANY - len(await door.come(copy, MANY)) for copy in door.copies] == [room - 1] * 2


async def test_those_that_have_waited_for_long_count_where_temporal_has_them_waiting_for_a_worker(door: Door) -> None:
    await line_up(door, MANY)
    await door.see_begin([])
    door.move(NEW_FOR * MAX_DELAY + 1)

    assert await door.look() == ["orders_wait", "orders_wait"]


async def test_a_few_are_no_line_however_long_they_wait(door: Door) -> None:
    await line_up(door, FEW - 1)
    door.move(3_600)

    assert await door.reasons() == ["", ""]


async def test_orders_that_wait_for_something_else_than_a_worker_are_no_line(door: Door) -> None:
    await line_up(door, MANY)
    door.shop.sagas.waiting = 0  # all have begun: Stripe is slow, or a service is away
    door.move(60)

    assert await door.reasons() == ["", ""]


async def test_what_temporal_said_of_an_earlier_line_closes_nothing(door: Door) -> None:
    orders = await line_up(door, MANY)
    door.move(PATIENCE)
    assert await door.reasons() == ["orders_wait", "orders_wait"]
    for order_id in orders:
        await door.shop.mark_pending(order_id)
    assert await door.look() == ["", ""]

    door.pause(KNOWN_FOR)
    await line_up(door, MANY)
    door.shop.sagas.waiting = 0
    door.move(PATIENCE)

    assert await door.look() == ["", ""]


async def test_new_orders_come_in_while_temporal_is_away(door: Door) -> None:
    await line_up(door, MANY)
    door.move(60)
    assert await door.reasons() == ["orders_wait", "orders_wait"]

    door.shop.sagas.is_away = True

    assert await door.reasons() == ["", ""]


async def test_it_closes_while_taking_orders_is_slower_than_they_come(door: Door) -> None:
    with ExitStack() as coming:
        for copy in door.copies:
            for _ in range(FEW):
                coming.enter_context(copy.coming_in())
        assert [await copy.find_reason() for copy in door.copies] == [None, None]  # they have come just now
        door.pause(PATIENCE)
        assert await door.look() == ["orders_come", "orders_come"]

    assert await door.look() == ["", ""]


async def test_a_process_that_is_late_for_a_second_closes_and_opens_when_it_is_in_time_once(door: Door) -> None:
    lag = door.shop.components.loop_lag
    for _ in range(4):
        lag.note(LATE)
    assert await door.reasons() == ["", ""]
    lag.note(LATE)
    assert await door.reasons() == ["busy_loop", "busy_loop"]

    lag.note(0)

    assert await door.reasons() == ["", ""]


async def test_a_look_is_no_work_for_the_order_that_has_it_done_and_a_gone_caller_does_not_spoil_it(door: Door) -> None:
    await line_up(door, MANY)
    door.move(PATIENCE)

    async def ask() -> list[str]:
        set_time_left(0)
        reasons = await door.reasons()
        assert not has_begun()
        return reasons

    assert await asyncio.create_task(ask()) == ["orders_wait", "orders_wait"]


async def test_nobody_waits_for_somebody_elses_look_at_the_line(databases: Mapping[str, str]) -> None:
    database = Database(databases["order"], pool_size=1)
    async with open_order_shop(databases["order"], database=database) as shop, asyncio.timeout(30):
        async with database.autocommit():
            looking = asyncio.create_task(shop.components.admission.find_reason())
            await asyncio.sleep(0)  # it has a task of its own,
            await asyncio.sleep(0)  # which waits for a connection

            assert await shop.components.admission.find_reason() is None
            assert not looking.done()
        await looking
    await database.close()


async def test_who_is_turned_away_leaves_nothing_and_may_come_again_with_the_same_key(door: Door) -> None:
    shop, lag, new = door.shop, door.shop.components.loop_lag, new_order()
    for _ in range(5):
        lag.note(LATE)
    with pytest.raises(Shed, match="come again"):
        await shop.orders.create(new, idempotency_key="key", wait=0)
    assert await fetch_rows(shop.database, "SELECT id FROM orders WHERE user_id = %(id)s", id=new.user_id) == []
    lag.note(0)

    created = await shop.orders.create(new, idempotency_key="key", wait=0)

    assert not created.replayed
    assert shop.sagas.started == [created.order.id]


async def test_a_repeat_of_an_accepted_order_is_answered_while_new_ones_are_turned_away(door: Door) -> None:
    shop, new = door.shop, new_order()
    first = await shop.orders.create(new, idempotency_key="key", wait=0)
    for _ in range(5):
        shop.components.loop_lag.note(LATE)

    again = await shop.orders.create(new, idempotency_key="key", wait=0)

    assert (again.order.id, again.replayed) == (first.order.id, True)
    with pytest.raises(Shed):
        await shop.orders.create(new_order(user_id=new.user_id), idempotency_key=new_id(), wait=0)


async def test_an_accepted_order_is_read_and_cancelled_while_new_ones_are_turned_away(door: Door) -> None:
    shop = door.shop
    order_id = await shop.pending()
    for _ in range(5):
        shop.components.loop_lag.note(LATE)

    async def close(order_id: str, _: object) -> None:
        await shop.close(order_id, OrderStatus.CANCELLED, reason="CUSTOMER")

    shop.sagas.on_cancel = close
    admin = Caller(CallerRole.ADMIN, new_id())
    cancelled = await shop.cancellations.cancel(order_id, caller=admin, note="", idempotency_key="key", wait=10)

    assert cancelled.order.status is OrderStatus.CANCELLED


async def test_an_order_whose_saga_was_started_is_not_started_again_because_it_waits(door: Door) -> None:
    await line_up(door, 3)
    await fetch_rows(door.shop.database, "UPDATE orders SET next_attempt_at = now() RETURNING id")

    assert await door.shop.components.saga_starts.process_due() == 0


class _UndoneError(Exception):
    """Ends a transaction that is to leave nothing behind."""


async def test_the_line_is_read_by_an_index(door: Door) -> None:
    await line_up(door, MANY)
    values = {"at": "now()", "new_from": "now()", "since": f"'{new_id()}'", "most": "1000"}
    statement = _LINE
    for name, value in values.items():
        statement = statement.replace(f"%({name})s", value)
    with suppress(_UndoneError):
        async with door.shop.database.transaction() as connection:
            await connection.execute("UPDATE orders SET status = 'PAID' WHERE id > (SELECT id FROM orders LIMIT 1)")
            await connection.execute("ANALYZE orders")  # as it is in a shop: nearly all have left the line
            await connection.execute("SET LOCAL enable_seqscan = off")  # the planner reads small tables whole
            await connection.execute("SET LOCAL enable_sort = off")
            plan = str(await connection.fetch_all(dict, f"EXPLAIN {statement}"))
            raise _UndoneError

    assert "Index Scan Backward using ix_orders_status_id" in plan


async def test_two_copies_share_out_what_is_to_be_started(door: Door, databases: Mapping[str, str]) -> None:
    shop = door.shop
    shop.sagas.is_away = True
    orders = [await shop.received() for _ in range(MANY)]
    shop.sagas.is_away = False
    await fetch_rows(shop.database, "UPDATE orders SET next_attempt_at = now() RETURNING id")
    both_at_work = asyncio.Barrier(2)

    def meeting() -> Callable[[OrderInput], Awaitable[None]]:
        has_met = asyncio.Event()

        async def meet(_: OrderInput) -> None:
            if not has_met.is_set():
                has_met.set()
                await both_at_work.wait()

        return meet

    async with open_order_shop(databases["order"], saga_starts_in_progress=3) as other, asyncio.timeout(30):
        shop.sagas.on_start, other.sagas.on_start = meeting(), meeting()
        await asyncio.gather(shop.components.saga_starts.process_due(), other.components.saga_starts.process_due())

    assert sorted([*shop.sagas.started, *other.sagas.started]) == sorted(orders)
