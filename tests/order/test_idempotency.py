"""Requests for an order that come more than once: one order, one answer, whoever asks when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest

from domain.ids import new_id
from domain.orders import AdjustmentType, OrderLine, OrderStatus, PriceAdjustment
from domain.saga import OrderInput
from runtime.database import Database
from runtime.fingerprint import fingerprint
from runtime.idempotency import IdempotencyKeyInUse, IdempotencyKeyReused
from runtime.wakeups import Wakeups
from services.order import admission
from services.order.model import NewOrder
from services.order.service import Created
from tests.support.in_call import in_call
from tests.support.moved_clock import MovedClock
from tests.support.order_shop import OrderShop, new_order, open_order_shop


async def create(shop: OrderShop, new: NewOrder, *, wait: float, time_left: float | None = None) -> Created:
    """Ask for the order under the one key of the test, with a caller who waits `time_left` seconds for the answer."""
    with in_call(time_left):
        return await shop.orders.create(new, idempotency_key="key", wait=wait)


def later(shop: OrderShop, new: NewOrder, *, wait: float, time_left: float | None = None) -> asyncio.Task[Created]:
    """The same, meanwhile."""
    return asyncio.create_task(create(shop, new, wait=wait, time_left=time_left))


async def test_the_same_key_and_request_is_the_same_order(shop: OrderShop) -> None:
    new = new_order()

    first = await create(shop, new, wait=0)
    again = await create(shop, new, wait=0)

    assert (again.order.id, again.replayed, again.accepted_only) == (first.order.id, True, True)
    assert shop.sagas.started == [first.order.id]


async def test_the_same_key_with_another_request_is_refused(shop: OrderShop) -> None:
    new = new_order()
    await create(shop, new, wait=0)

    with pytest.raises(IdempotencyKeyReused):
        await create(shop, new.model_copy(update={"currency": "USD"}), wait=0)


async def test_the_same_key_of_another_user_is_another_order(shop: OrderShop) -> None:
    new = new_order()

    first = await create(shop, new, wait=0)
    second = await create(shop, new.model_copy(update={"user_id": new_id()}), wait=0)

    assert first.order.id != second.order.id


async def test_concurrent_duplicates_make_one_order(shop: OrderShop) -> None:
    new = new_order()

    answers = await asyncio.gather(*(create(shop, new, wait=0) for _ in range(8)))

    assert len({answer.order.id for answer in answers}) == 1
    assert [answer.replayed for answer in answers].count(False) == 1
    assert len(shop.sagas.started) == 1


async def test_a_duplicate_that_waits_longer_gets_the_code_of_the_first_answer(shop: OrderShop) -> None:
    new = new_order()
    first = later(shop, new, wait=0.3)
    order_id = await shop.sagas.next_start()
    duplicate = later(shop, new, wait=20)
    assert (await first).accepted_only

    await shop.mark_pending(order_id)

    assert ((await duplicate).replayed, (await duplicate).accepted_only) == (True, True)
    assert (await create(shop, new, wait=20)).accepted_only


async def test_a_duplicate_that_waits_less_waits_as_long_as_the_first_request(shop: OrderShop) -> None:
    new = new_order()
    first = later(shop, new, wait=20)
    order_id = await shop.sagas.next_start()
    duplicate = later(shop, new, wait=0)
    answered_at_once, _ = await asyncio.wait([duplicate], timeout=0.5)

    await shop.mark_pending(order_id)
    assert not answered_at_once
    answers = [await first, await duplicate, await create(shop, new, wait=0)]

    assert [answer.order.status for answer in answers] == [OrderStatus.PENDING] * 3
    assert [answer.accepted_only for answer in answers] == [False] * 3


async def test_a_duplicate_whose_caller_cannot_wait_for_the_first_answer_is_refused(shop: OrderShop) -> None:
    new = new_order()
    first = later(shop, new, wait=20)
    order_id = await shop.sagas.next_start()

    with pytest.raises(IdempotencyKeyInUse):
        await later(shop, new, wait=0, time_left=0.6)

    await shop.mark_pending(order_id)
    assert not (await first).accepted_only
    assert not (await later(shop, new, wait=0, time_left=0.6)).accepted_only


@pytest.mark.parametrize(("seconds", "accepted_only"), [(1, False), (3, True)])
async def test_the_code_is_that_of_the_first_request_even_if_it_died_unanswered(
    databases: Mapping[str, str], seconds: float, accepted_only: bool
) -> None:
    clock, new = MovedClock(), new_order()
    async with open_order_shop(databases["order"], clock=clock) as shop:
        first = later(shop, new, wait=2)
        order_id = await shop.sagas.next_start()
        first.cancel()
        clock.move(seconds=seconds)
        await shop.mark_pending(order_id)
        clock.move(seconds=60)

        answers = [await create(shop, new, wait=wait) for wait in (0, 20)]

    assert [answer.accepted_only for answer in answers] == [accepted_only] * 2
    assert {answer.order.status for answer in answers} == {OrderStatus.PENDING}


async def test_an_order_that_moved_unheard_is_not_answered_as_accepted_only(
    shop: OrderShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Wakeups, "wake", lambda *_: None)  # no notification arrives
    answer = later(shop, new_order(), wait=0.5)

    await shop.mark_pending(await shop.sagas.next_start())
    created = await answer

    assert (created.order.status, created.accepted_only) == (OrderStatus.PENDING, False)


class CountingDatabase(Database):
    """Counts how often a connection is taken."""

    taken = 0

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[psycopg.AsyncConnection[object]]:
        self.taken += 1
        async with super()._connect() as connection:
            yield connection


async def test_a_request_takes_a_connection_to_be_accepted_and_one_to_be_answered(
    databases: Mapping[str, str], shop: OrderShop
) -> None:
    database = CountingDatabase(databases["order"], pool_size=4)
    async with open_order_shop(databases["order"], database=database, max_start_delay=0) as counted:

        async def begin(order: OrderInput) -> None:
            await shop.mark_pending(order.order_id)

        counted.sagas.on_start = begin
        await create(counted, new_order(), wait=20)
    await database.close()

    assert database.taken == 2


async def test_all_requests_of_a_moment_take_one_connection_to_see_how_long_the_line_is(
    databases: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "LOOK_INTERVAL", 60)
    database = CountingDatabase(databases["order"], pool_size=4)
    async with open_order_shop(databases["order"], database=database) as shop:
        await asyncio.gather(*(shop.components.admission.find_reason() for _ in range(10)))
    await database.close()

    assert database.taken == 1


def test_a_request_has_the_fingerprint_that_it_had_when_the_first_keys_were_stored() -> None:
    new = new_order(
        user_id="01932b5e-7c1a-7e4e-9c3d-2f6d1b8a4c55",
        lines=[OrderLine("01932b5e-7c1a-7e4e-9c3d-2f6d1b8a4c56", 2)],
        expected_total=1_000,
    )

    assert fingerprint(new.content) == "a9834ef1a01d2309243736921c34e60741621739b769ea6d73faa73e75bb1ac0"


def test_a_request_is_another_one_with_other_metadata_region_or_shipping_and_not_with_its_lines_turned_round() -> None:
    new = new_order(lines=[OrderLine(new_id(), 1), OrderLine(new_id(), 2)])
    turned = new.model_copy(update={"lines": new.lines[::-1]})
    elsewhere = new.shipping_address.model_copy(update={"region": "Kowloon"})
    others: list[dict[str, Any]] = [
        {"shop_metadata": {"cart": "1"}},
        {"shop_metadata": {"cart": "2"}},
        {"shipping_address": elsewhere},
        {"adjustments": [PriceAdjustment(AdjustmentType.SHIPPING, "Parcel", 490)]},
        {"adjustments": [PriceAdjustment(AdjustmentType.DISCOUNT, "Parcel", 490)]},
    ]

    prints = {fingerprint(each.content) for each in (new, *(new.model_copy(update=other) for other in others))}

    assert len(prints) == 6
    assert fingerprint(turned.content) == fingerprint(new.content)
