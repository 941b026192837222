"""Requests to cancel an order: one per order, one answer for each key, whoever asks when."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from domain.ids import new_id
from domain.orders import CancelledBy, OrderStatus
from runtime.caller import Caller, CallerRole
from runtime.fingerprint import fingerprint
from runtime.idempotency import IdempotencyKeyInUse, IdempotencyKeyReused
from services.order.cancellation_service import Cancelled
from services.order.errors import OrderNotCancellable, OrderNotFound
from tests.support.in_call import in_call
from tests.support.moved_clock import MovedClock
from tests.support.order_shop import OrderShop, open_order_shop, refund_update
from tests.support.rows import fetch_rows

REQUESTS = "SELECT cancelled_by, note FROM cancellation_requests WHERE order_id = %(id)s"


async def cancel(
    shop: OrderShop, order_id: str, *, wait: float = 0, note: str = "", key: str = "key", time_left: float | None = None
) -> Cancelled:
    """Request it as an admin of the order's own, who waits `time_left` seconds for the answer."""
    admin = Caller(CallerRole.ADMIN, order_id)
    with in_call(time_left):
        return await shop.cancellations.cancel(order_id, caller=admin, note=note, idempotency_key=key, wait=wait)


def obey(shop: OrderShop) -> None:
    """Let sagas cancel their orders as soon as they are asked."""

    async def close(order_id: str, cancelled_by: CancelledBy) -> None:
        await shop.close(order_id, OrderStatus.CANCELLED, reason=cancelled_by)

    shop.sagas.on_cancel = close


async def test_a_request_is_stored_before_the_saga_is_asked(shop: OrderShop) -> None:
    order_id = await shop.pending()
    stored = []

    async def look(order_id: str, _: CancelledBy) -> None:
        stored.extend(await fetch_rows(shop.database, REQUESTS, id=order_id))

    shop.sagas.on_cancel = look
    await cancel(shop, order_id, note="found it cheaper")

    assert stored == [("ADMIN", "found it cheaper")]


async def test_the_first_request_names_who_cancelled(shop: OrderShop) -> None:
    order_id = await shop.pending()
    customer = Caller(CallerRole.CUSTOMER, (await shop.order(order_id)).user_id)

    await shop.cancellations.cancel(order_id, caller=customer, note="", idempotency_key="key", wait=0)
    await cancel(shop, order_id)

    assert shop.sagas.cancelled == [(order_id, CancelledBy.CUSTOMER)] * 2


@pytest.mark.parametrize("status", [OrderStatus.PAID, OrderStatus.FAILED])
async def test_an_order_that_ended_otherwise_is_not_cancellable_and_its_saga_is_not_asked(
    shop: OrderShop, status: OrderStatus
) -> None:
    order_id = await shop.pending()
    await shop.close(order_id, status)

    for _ in range(2):
        with pytest.raises(OrderNotCancellable):
            await cancel(shop, order_id)

    assert shop.sagas.cancelled == []
    assert await fetch_rows(shop.database, REQUESTS, id=order_id) == []


async def test_a_refunded_order_is_not_cancellable(shop: OrderShop) -> None:
    order_id = await shop.paid()
    await shop.orders.mark_refunded(refund_update(order_id))

    with pytest.raises(OrderNotCancellable):
        await cancel(shop, order_id)


async def test_a_strangers_request_is_not_stored(shop: OrderShop) -> None:
    order_id = await shop.pending()
    stranger = Caller(CallerRole.CUSTOMER, new_id())

    with pytest.raises(OrderNotFound):
        await shop.cancellations.cancel(order_id, caller=stranger, note="", idempotency_key="key", wait=0)

    assert await fetch_rows(shop.database, REQUESTS, id=order_id) == []


async def test_the_same_key_with_another_note_is_refused(shop: OrderShop) -> None:
    order_id = await shop.pending()
    await cancel(shop, order_id, note="a")

    with pytest.raises(IdempotencyKeyReused):
        await cancel(shop, order_id, note="b")


async def test_a_request_has_the_fingerprint_that_it_had_when_the_first_keys_were_stored(shop: OrderShop) -> None:
    order_id = await shop.pending()

    await cancel(shop, order_id, note="changed my mind")

    stored = "SELECT request_hash FROM idempotency_keys WHERE subject_id = %(id)s AND route LIKE '%%/cancel'"
    assert await fetch_rows(shop.database, stored, id=order_id) == [
        (fingerprint({"order_id": order_id, "why": "changed my mind"}),)
    ]


async def test_a_cancelled_order_is_answered_to_everybody_who_asked(shop: OrderShop) -> None:
    order_id = await shop.pending()
    obey(shop)

    answers = [await cancel(shop, order_id, wait=20, key=key) for key in ("key", "key", "other")]

    assert [(answer.order.status, answer.accepted_only) for answer in answers] == [(OrderStatus.CANCELLED, False)] * 3
    assert [answer.replayed for answer in answers] == [False, True, False]
    assert len(shop.sagas.cancelled) == 1


async def test_duplicates_of_an_accepted_request_are_accepted_though_the_order_was_paid_since(
    databases: Mapping[str, str],
) -> None:
    clock = MovedClock()
    async with open_order_shop(databases["order"], clock=clock) as shop:
        order_id = await shop.pending()
        clock.move(seconds=60)
        first = await cancel(shop, order_id, wait=0.1)
        clock.move(seconds=3)
        await shop.close(order_id, OrderStatus.PAID)

        second, third = [await cancel(shop, order_id, wait=wait) for wait in (20, 0)]

        assert [answer.accepted_only for answer in (first, second, third)] == [True] * 3
        assert [answer.order.status for answer in (first, second, third)] == ["PENDING", "PAID", "PAID"]
        with pytest.raises(OrderNotCancellable):
            await cancel(shop, order_id, key="another")


async def test_a_refused_request_stays_refused_when_the_paid_order_is_refunded_later(
    databases: Mapping[str, str],
) -> None:
    clock = MovedClock()
    async with open_order_shop(databases["order"], clock=clock) as shop:
        order_id = await shop.paid()
        with pytest.raises(OrderNotCancellable):
            await cancel(shop, order_id, wait=2)
        clock.move(seconds=60)
        await shop.orders.mark_refunded(refund_update(order_id))

        with pytest.raises(OrderNotCancellable):
            await cancel(shop, order_id, wait=2)


async def test_a_concurrent_duplicate_is_accepted_like_the_first_request_whose_order_was_paid_too_late(
    shop: OrderShop,
) -> None:
    order_id = await shop.pending()
    first = asyncio.create_task(cancel(shop, order_id, wait=0.3))
    await shop.sagas.next_cancellation()
    duplicate = asyncio.create_task(cancel(shop, order_id, wait=20))
    assert (await first).accepted_only

    await shop.close(order_id, OrderStatus.PAID)

    assert (await duplicate).accepted_only
    assert (await cancel(shop, order_id, wait=20)).accepted_only


async def test_a_concurrent_duplicate_that_waits_less_is_refused_like_the_first_request(shop: OrderShop) -> None:
    order_id = await shop.pending()
    first = asyncio.create_task(cancel(shop, order_id, wait=20))
    await shop.sagas.next_cancellation()
    impatient = asyncio.create_task(cancel(shop, order_id, wait=0, time_left=0.6))
    duplicate = asyncio.create_task(cancel(shop, order_id, wait=0))
    with pytest.raises(IdempotencyKeyInUse):
        await impatient

    await shop.close(order_id, OrderStatus.PAID)

    for answer in (first, duplicate):
        with pytest.raises(OrderNotCancellable):
            await answer
    with pytest.raises(OrderNotCancellable):
        await cancel(shop, order_id)


async def test_support_cancels_anybodys_order_and_is_named_for_it(shop: OrderShop) -> None:
    order_id, support = await shop.pending(), Caller(CallerRole.SUPPORT, new_id())

    await shop.cancellations.cancel(order_id, caller=support, note="asked by phone", idempotency_key=new_id(), wait=0)

    assert shop.sagas.cancelled[-1] == (order_id, CancelledBy.SUPPORT)
    stored = await shop.cancellations.find(order_id)
    assert stored is not None
    assert (stored.cancelled_by, stored.user_id) == (CancelledBy.SUPPORT, support.id)
