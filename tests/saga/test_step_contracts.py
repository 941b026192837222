"""What the saga relies on in the steps of pricing, stock and orders."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from temporalio.exceptions import ApplicationError

from domain.ids import new_id
from domain.orders import OrderStatus, PricedLine
from domain.saga import (
    AttentionRequest,
    MarkRefundedRequest,
    MarkRequest,
    QuoteRequest,
    ReserveRequest,
    RestockRequest,
)
from tests.support.step_harness import StepHarness, order_lines, pending
from workflows.steps import OrderSteps, PricingSteps, StockSteps

DEADLINE: Final = datetime(2030, 1, 1, 12, tzinfo=UTC)


async def refusal(call: Awaitable[Any]) -> str | None:
    """The name by which a step refuses for good."""
    with pytest.raises(ApplicationError) as error:
        await call
    assert error.value.non_retryable
    return error.value.type


# Pricing


async def test_a_quote_tells_the_price_of_each_line_and_the_total(harness: StepHarness) -> None:
    cheap, dear = await harness.product(price=100), await harness.product(price=700)
    lines = order_lines((cheap, 3), (dear, 2))

    quote = await harness.do(PricingSteps.quote, QuoteRequest(lines=lines, currency="EUR", expected_total=1_700))

    assert (quote.total, quote.currency) == (1_700, "EUR")
    assert {line.product_id: (line.quantity, line.unit_price) for line in quote.lines} == {
        cheap: (3, 100),
        dear: (2, 700),
    }


@pytest.mark.parametrize(
    ("price", "changes", "name"),
    [
        (1_000, {"expected_total": 999}, "PRICE_CHANGED"),
        (1_000, {"expected_total": 1_000, "adjustment": 490}, "PRICE_CHANGED"),
        (1_000, {"adjustment": -1_001}, "DISCOUNT_TOO_LARGE"),
        (1_000, {"currency": "USD"}, "CURRENCY_MISMATCH"),
        (49, {}, "PAYMENT_REJECTED"),
    ],
)
async def test_a_quote_is_refused_by_name(harness: StepHarness, price: int, changes: dict[str, Any], name: str) -> None:
    lines = order_lines((await harness.product(price=price), 1))
    request = QuoteRequest(**{"lines": lines, "currency": "EUR", "expected_total": None, **changes})

    assert await refusal(harness.do(PricingSteps.quote, request)) == name


async def test_an_unknown_or_withdrawn_product_has_no_price(harness: StepHarness) -> None:
    withdrawn = await harness.product()
    await harness.withdraw(withdrawn)

    for product, name in ((new_id(), "PRODUCT_NOT_FOUND"), (withdrawn, "PRODUCT_INACTIVE")):
        request = QuoteRequest(lines=order_lines((product, 1)), currency="EUR", expected_total=None)
        assert await refusal(harness.do(PricingSteps.quote, request)) == name


# Stock


def reserving(order_id: str, *lines: tuple[str, int]) -> ReserveRequest:
    return ReserveRequest(order_id=order_id, lines=order_lines(*lines))


async def test_reserve_holds_the_units_once_however_often_it_is_asked(harness: StepHarness) -> None:
    product, order_id = await harness.product(units=5), new_id()
    for _ in range(2):
        await harness.do(StockSteps.reserve, reserving(order_id, (product, 3)))

    assert await harness.level(product) == (5, 3)


async def test_reserve_takes_all_lines_or_none(harness: StepHarness) -> None:
    plenty, scarce, order_id = await harness.product(units=5), await harness.product(units=1), new_id()
    request = reserving(order_id, (plenty, 2), (scarce, 2))

    assert await refusal(harness.do(StockSteps.reserve, request)) == "OUT_OF_STOCK"
    assert (await harness.level(plenty), await harness.level(scarce)) == ((5, 0), (1, 0))


async def test_reserve_of_other_lines_is_refused(harness: StepHarness) -> None:
    product, order_id = await harness.product(units=5), new_id()
    await harness.do(StockSteps.reserve, reserving(order_id, (product, 3)))

    assert await refusal(harness.do(StockSteps.reserve, reserving(order_id, (product, 2)))) == "RESERVATION_DIFFERS"
    assert await harness.level(product) == (5, 3)


async def test_a_reserve_that_comes_after_its_release_is_refused(harness: StepHarness) -> None:
    product = await harness.product(units=5)
    undone_before, undone_after = new_id(), new_id()
    await harness.do(StockSteps.release, undone_before)
    await harness.do(StockSteps.reserve, reserving(undone_after, (product, 3)))
    for _ in range(2):
        await harness.do(StockSteps.release, undone_after)

    for order_id in (undone_before, undone_after):
        request = reserving(order_id, (product, 3))
        assert await refusal(harness.do(StockSteps.reserve, request)) == "RESERVATION_RELEASED"
    assert await harness.level(product) == (5, 0)


async def test_commit_sells_once_and_is_never_given_back(harness: StepHarness) -> None:
    product, order_id = await harness.product(units=5), new_id()
    await harness.do(StockSteps.reserve, reserving(order_id, (product, 3)))
    for _ in range(2):
        await harness.do(StockSteps.commit, order_id)

    assert await refusal(harness.do(StockSteps.release, order_id)) == "RESERVATION_COMMITTED"
    await harness.do(StockSteps.reserve, reserving(order_id, (product, 3)))
    assert await harness.level(product) == (2, 0)


async def test_there_is_nothing_to_commit_before_a_reserve_or_after_a_release(harness: StepHarness) -> None:
    released = new_id()
    await harness.do(StockSteps.release, released)

    assert await refusal(harness.do(StockSteps.commit, new_id())) == "RESERVATION_NOT_FOUND"
    assert await refusal(harness.do(StockSteps.commit, released)) == "RESERVATION_RELEASED"


def restocking(order_id: str, *lines: tuple[str, int], restock_id: str | None = None) -> RestockRequest:
    return RestockRequest(restock_id=restock_id or new_id(), order_id=order_id, lines=order_lines(*lines))


async def committed(harness: StepHarness, *lines: tuple[str, int]) -> str:
    """An order that bought these."""
    order_id = new_id()
    await harness.do(StockSteps.reserve, reserving(order_id, *lines))
    await harness.do(StockSteps.commit, order_id)
    return order_id


async def test_refunds_put_units_back_in_parts_once_each_however_often_they_ask(harness: StepHarness) -> None:
    product = await harness.product(units=5)
    order_id = await committed(harness, (product, 3))
    for request in (restocking(order_id, (product, 2)), restocking(order_id, (product, 1))):
        for _ in range(2):
            await harness.do(StockSteps.restock, request)

    assert await harness.level(product) == (5, 0)


async def test_no_more_is_put_back_than_the_order_bought(harness: StepHarness) -> None:
    product, other, not_bought = [await harness.product(units=5) for _ in range(3)]
    order_id = await committed(harness, (product, 3), (other, 1))
    await harness.do(StockSteps.restock, restocking(order_id, (product, 2)))

    for too_much in ((product, 2), (not_bought, 1)):
        request = restocking(order_id, (other, 1), too_much)
        assert await refusal(harness.do(StockSteps.restock, request)) == "RESTOCK_EXCEEDS_SALE"
    assert [await harness.level(each) for each in (product, other, not_bought)] == [(4, 0), (4, 0), (5, 0)]


async def test_a_refund_puts_back_the_units_that_it_first_asked_for_and_no_others(harness: StepHarness) -> None:
    product = await harness.product(units=5)
    order_id, other_order_id = await committed(harness, (product, 2)), await committed(harness, (product, 1))
    first = restocking(order_id, (product, 1))
    await harness.do(StockSteps.restock, first)

    for request in (
        restocking(order_id, (product, 2), restock_id=first.restock_id),
        restocking(other_order_id, (product, 1), restock_id=first.restock_id),
        restocking(new_id(), (product, 1), restock_id=first.restock_id),
    ):
        assert await refusal(harness.do(StockSteps.restock, request)) == "RESTOCK_DIFFERS"
    assert await harness.level(product) == (3, 0)


async def test_there_is_nothing_to_put_back_of_an_order_that_bought_nothing(harness: StepHarness) -> None:
    product = await harness.product(units=5)
    reserved, released = new_id(), new_id()
    for order_id in (reserved, released):
        await harness.do(StockSteps.reserve, reserving(order_id, (product, 1)))
    await harness.do(StockSteps.release, released)

    for order_id in (new_id(), reserved, released):
        request = restocking(order_id, (product, 1))
        assert await refusal(harness.do(StockSteps.restock, request)) == "RESERVATION_NOT_FOUND"
    assert await harness.level(product) == (5, 1)


# Orders


async def accepted(harness: StepHarness) -> tuple[str, Any]:
    """A new order, and the mark that makes it PENDING."""
    product = await harness.product()
    order_id = await harness.accept((product, 2))
    request = pending(
        order_id,
        lines=[PricedLine(product, 2, 1_000)],
        total=2_000,
        payment_id=new_id(),
        payment_deadline=DEADLINE,
    )
    return order_id, request


def closing(order_id: str, status: OrderStatus, reason: str | None = None) -> MarkRequest:
    return MarkRequest(order_id=order_id, cause_id="order_saga:closed", status=status, reason=reason)


async def test_a_repeated_mark_pending_answers_with_the_first_deadline(harness: StepHarness) -> None:
    order_id, request = await accepted(harness)
    await harness.do(OrderSteps.mark_pending, request)
    later = pending(
        order_id,
        lines=request.lines,
        total=2_000,
        payment_id=request.payment_id,
        payment_deadline=DEADLINE + timedelta(hours=1),
    )
    marked = await harness.do(OrderSteps.mark_pending, later)

    assert (marked.status, marked.payment_deadline) == (OrderStatus.PENDING, DEADLINE)
    assert await harness.history(order_id) == ["RECEIVED", "PENDING"]


async def test_an_order_closes_once_and_a_later_mark_answers_with_how(harness: StepHarness) -> None:
    order_id, request = await accepted(harness)
    await harness.do(OrderSteps.mark_pending, request)
    await harness.do(OrderSteps.mark, closing(order_id, OrderStatus.PAID))

    for mark in (closing(order_id, OrderStatus.FAILED, "STOCK_LOST"), closing(order_id, OrderStatus.PAID)):
        assert (await harness.do(OrderSteps.mark, mark)).status is OrderStatus.PAID
    assert (await harness.do(OrderSteps.mark_pending, request)).status is OrderStatus.PAID
    assert await harness.history(order_id) == ["RECEIVED", "PENDING", "PAID"]


async def test_a_received_order_can_fail_but_not_be_paid(harness: StepHarness) -> None:
    order_id, request = await accepted(harness)
    assert (await harness.do(OrderSteps.mark, closing(order_id, OrderStatus.PAID))).status is OrderStatus.RECEIVED

    marked = await harness.do(OrderSteps.mark, closing(order_id, OrderStatus.FAILED, "OUT_OF_STOCK"))

    assert (marked.status, marked.reason) == (OrderStatus.FAILED, "OUT_OF_STOCK")
    assert (await harness.do(OrderSteps.mark_pending, request)).status is OrderStatus.FAILED
    read = await harness.do(OrderSteps.read_order, order_id)
    assert (read.status, read.reason) == (OrderStatus.FAILED, "OUT_OF_STOCK")
    assert await harness.history(order_id) == ["RECEIVED", "FAILED"]


async def test_a_resumed_order_has_the_price_it_was_sold_at_once_it_was_pending(harness: StepHarness) -> None:
    order_id, request = await accepted(harness)
    before = await harness.do(OrderSteps.resume_order, order_id)
    await harness.do(OrderSteps.mark_pending, request)
    after = await harness.do(OrderSteps.resume_order, order_id)

    assert (before.order.status, before.quote) == (OrderStatus.RECEIVED, None)
    assert (after.order.status, after.order.payment_deadline) == (OrderStatus.PENDING, DEADLINE)
    assert after.quote is not None
    assert (after.quote.lines, after.quote.total, after.quote.currency) == (request.lines, 2_000, "EUR")


async def paid(harness: StepHarness) -> str:
    """A PAID order of 20.00 EUR."""
    order_id, request = await accepted(harness)
    await harness.do(OrderSteps.mark_pending, request)
    await harness.do(OrderSteps.mark, closing(order_id, OrderStatus.PAID))
    return order_id


def refunding(order_id: str, refund_id: str, version: int, **changes: Any) -> MarkRefundedRequest:
    values = {"amount": 500, "succeeded": True, **changes}
    return MarkRefundedRequest(order_id=order_id, refund_id=refund_id, version=version, **values)


async def test_refunds_add_up_and_each_change_of_one_is_one_transition(harness: StepHarness) -> None:
    order_id, first, second = await paid(harness), new_id(), new_id()

    answers = [
        await harness.do(OrderSteps.mark_refunded, request)
        for request in (
            refunding(order_id, first, 1, succeeded=False),
            refunding(order_id, first, 2),
            refunding(order_id, first, 2),
            refunding(order_id, second, 1, amount=1_500),
            refunding(order_id, first, 3, succeeded=False),
            refunding(order_id, first, 4),
        )
    ]

    assert [answer.status for answer in answers] == [
        "PAID",
        "PARTIALLY_REFUNDED",
        "PARTIALLY_REFUNDED",
        "REFUNDED",
        "PARTIALLY_REFUNDED",
        "REFUNDED",
    ]
    assert {(answer.reason, answer.payment_deadline) for answer in answers} == {(None, None)}
    assert (await harness.history(order_id))[3:] == ["PARTIALLY_REFUNDED", "REFUNDED", "PARTIALLY_REFUNDED", "REFUNDED"]
    assert (await harness.do(OrderSteps.read_order, order_id)).status is OrderStatus.REFUNDED


async def test_an_older_version_of_a_refund_changes_nothing(harness: StepHarness) -> None:
    order_id, refund_id = await paid(harness), new_id()
    await harness.do(OrderSteps.mark_refunded, refunding(order_id, refund_id, 5))
    await harness.do(OrderSteps.mark_refunded, refunding(order_id, refund_id, 7))

    for version in (4, 5, 6, 7):
        marked = await harness.do(OrderSteps.mark_refunded, refunding(order_id, refund_id, version, succeeded=False))
        assert marked.status is OrderStatus.PARTIALLY_REFUNDED
    assert (await harness.history(order_id))[3:] == ["PARTIALLY_REFUNDED"]


async def test_a_refund_keeps_the_amount_it_was_first_told_with(harness: StepHarness) -> None:
    order_id, refund_id = await paid(harness), new_id()
    await harness.do(OrderSteps.mark_refunded, refunding(order_id, refund_id, 1))

    marked = await harness.do(OrderSteps.mark_refunded, refunding(order_id, refund_id, 2, amount=1, succeeded=False))

    assert marked.status is OrderStatus.PAID
    assert (await harness.history(order_id))[3:] == ["PARTIALLY_REFUNDED", "PAID"]


async def test_a_refunded_order_is_marked_by_its_saga_as_one_that_is_paid(harness: StepHarness) -> None:
    order_id, request = await accepted(harness)
    await harness.do(OrderSteps.mark_pending, request)
    await harness.do(OrderSteps.mark, closing(order_id, OrderStatus.PAID))
    await harness.do(OrderSteps.mark_refunded, refunding(order_id, new_id(), 1))

    pending_again = await harness.do(OrderSteps.mark_pending, request)
    paid_again = await harness.do(OrderSteps.mark, closing(order_id, OrderStatus.PAID))
    resumed = await harness.do(OrderSteps.resume_order, order_id)

    assert (pending_again.status, pending_again.payment_deadline) == (OrderStatus.PARTIALLY_REFUNDED, DEADLINE)
    assert paid_again.status is resumed.order.status is OrderStatus.PARTIALLY_REFUNDED
    assert resumed.quote is not None
    assert (await harness.history(order_id))[3:] == ["PARTIALLY_REFUNDED"]


async def test_a_refund_of_an_order_that_ended_unpaid_leaves_it(harness: StepHarness) -> None:
    order_id, _ = await accepted(harness)
    await harness.do(OrderSteps.mark, closing(order_id, OrderStatus.FAILED, "STOCK_LOST"))

    marked = await harness.do(OrderSteps.mark_refunded, refunding(order_id, new_id(), 1))

    assert (marked.status, marked.reason) == (OrderStatus.FAILED, "STOCK_LOST")
    assert await harness.history(order_id) == ["RECEIVED", "FAILED"]


async def test_a_refund_of_an_open_order_is_to_be_told_again(harness: StepHarness) -> None:
    order_id, request = await accepted(harness)
    await harness.do(OrderSteps.mark_pending, request)

    with pytest.raises(ApplicationError, match="PENDING") as error:
        await harness.do(OrderSteps.mark_refunded, refunding(order_id, new_id(), 1))

    assert not error.value.non_retryable
    assert await harness.history(order_id) == ["RECEIVED", "PENDING"]


async def test_an_unknown_order_is_refused_by_name(harness: StepHarness) -> None:
    _, request = await accepted(harness)
    unknown = new_id()
    mark_pending = pending(unknown, lines=request.lines, total=2_000, payment_id=new_id(), payment_deadline=DEADLINE)

    for call in (
        harness.do(OrderSteps.mark_pending, mark_pending),
        harness.do(OrderSteps.mark, closing(unknown, OrderStatus.FAILED, "STOCK_LOST")),
        harness.do(OrderSteps.mark_refunded, refunding(unknown, new_id(), 1)),
        harness.do(OrderSteps.read_order, unknown),
        harness.do(OrderSteps.resume_order, unknown),
        harness.do(OrderSteps.attention, AttentionRequest(order_id=unknown, step="reserve", why="away")),
    ):
        assert await refusal(call) == "ORDER_NOT_FOUND"


async def test_attention_says_its_last_cause_until_it_is_cleared(harness: StepHarness) -> None:
    order_id, _ = await accepted(harness)
    for why in ("away", "refused"):
        await harness.do(OrderSteps.attention, AttentionRequest(order_id=order_id, step="reserve", why=why))
        assert await harness.attention(order_id) == {"reserve": why}

    for _ in range(2):
        await harness.do(OrderSteps.attention, AttentionRequest(order_id=order_id, step="reserve", why=None))
    assert await harness.attention(order_id) == {}
