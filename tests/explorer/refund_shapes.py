"""How a case looks at its beginning: an order that is sold or was undone, and what is to be given back of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from domain.orders import OrderLine, OrderStatus, PricedLine, Reason
from domain.saga import (
    CloseRefundRequest,
    MarkPendingRequest,
    MarkRefundedRequest,
    MarkRequest,
    OpenPaymentRequest,
    ReserveRequest,
    RestockRequest,
)
from tests.doubles.shop import DoubledShop
from tests.doubles.stripe import Card

ORDER: Final = "order"
PRODUCT: Final = "product"
ORDERED: Final = 3
PRICE: Final = 1_000
TOTAL: Final = ORDERED * PRICE
DEADLINE: Final = datetime(2026, 1, 1, tzinfo=UTC)


async def _open(shop: DoubledShop, card: Card) -> None:
    lines = [OrderLine(PRODUCT, ORDERED)]
    shop.add_product(PRODUCT, price=PRICE, units=10)
    shop.accept(ORDER, lines)
    await shop.stock.reserve(ReserveRequest(order_id=ORDER, lines=lines))
    payment = await shop.payments.open_payment(
        OpenPaymentRequest(order_id=ORDER, user_id="user", amount=TOTAL, currency="EUR", payment_method=card)
    )
    await shop.orders.mark_pending(
        MarkPendingRequest(
            order_id=ORDER,
            cause_id="pending",
            lines=[PricedLine(PRODUCT, ORDERED, PRICE)],
            total=TOTAL,
            payment_id=payment.payment_id,
            payment_deadline=DEADLINE,
        )
    )


async def _sell(shop: DoubledShop, card: Card) -> None:
    await _open(shop, card)
    await shop.stock.commit(ORDER)
    await shop.orders.mark(MarkRequest(order_id=ORDER, cause_id="closed", status=OrderStatus.PAID, reason=None))
    shop.take_events()


def _sold(card: Card, *refunds: tuple[int | None, int]) -> Callable[[DoubledShop], Awaitable[int]]:
    """A PAID order, and refunds that were asked for: how much of it, and how many units to put back."""

    async def begin(shop: DoubledShop) -> int:
        await _sell(shop, card)
        for amount, units in refunds:
            shop.payments.request_refund(ORDER, amount, (OrderLine(PRODUCT, units),) if units else ())
        return sum(units for _, units in refunds)

    return begin


def _undone(card: Card) -> Callable[[DoubledShop], Awaitable[int]]:
    """A FAILED order whose payment was voided when the money was in."""

    async def begin(shop: DoubledShop) -> int:
        await _open(shop, card)
        await shop.payments.void_payment(ORDER)
        await shop.stock.release(ORDER)
        mark = MarkRequest(order_id=ORDER, cause_id="closed", status=OrderStatus.FAILED, reason=Reason.PAYMENT_MISMATCH)
        await shop.orders.mark(mark)
        shop.take_events()
        return 0

    return begin


async def _refunded_in_the_dashboard(shop: DoubledShop) -> int:
    await _sell(shop, Card.VISA)
    [intent] = shop.stripe.intents.values()
    shop.stripe.refund(intent.id, refund_id=None, amount=PRICE)
    shop.take_events()
    return 0


async def _failed(shop: DoubledShop) -> int:
    """A part was given back, and Stripe says that it failed before anybody was told of it."""
    await _sell(shop, Card.VISA)
    refund_id = shop.payments.request_refund(ORDER, PRICE, (OrderLine(PRODUCT, 1),))
    await shop.refunds.carry_out_refund(refund_id)
    _take_back(shop)
    return 1


async def _taken_back(shop: DoubledShop) -> int:
    """A part was given back, all was done that follows from it, and then Stripe took it back."""
    await _sell(shop, Card.VISA)
    refund_id = shop.payments.request_refund(ORDER, PRICE, (OrderLine(PRODUCT, 1),))
    state = await shop.refunds.carry_out_refund(refund_id)
    told = MarkRefundedRequest(
        order_id=ORDER, refund_id=refund_id, amount=state.amount, succeeded=True, version=state.version
    )
    await shop.orders.mark_refunded(told)
    await shop.stock.restock(RestockRequest(restock_id=state.restock_id, order_id=ORDER, lines=state.restock))
    await shop.refunds.close_refund(CloseRefundRequest(refund_id=refund_id, version=state.version))
    _take_back(shop)
    return 1


async def _disputed(shop: DoubledShop) -> int:
    """A part is asked for, and the customer goes to their bank before it is made."""
    units = await _sold(Card.VISA, (PRICE, 1))(shop)
    [intent] = shop.stripe.intents.values()
    shop.stripe.dispute(intent.id)
    shop.take_events()
    return units


def _take_back(shop: DoubledShop) -> None:
    [intent] = shop.stripe.intents.values()
    shop.stripe.move_refund(intent.refunds[0].id, "failed")
    shop.take_events()


RESOLVED: Final = "resolved"
CHARGED_BACK: Final = "charged-back"

SHAPES: Final[Mapping[str, Callable[[DoubledShop], Awaitable[int]]]] = {
    "all": _sold(Card.VISA, (None, ORDERED)),
    "part": _sold(Card.VISA, (PRICE, 1)),
    "two": _sold(Card.VISA, (PRICE, 1), (PRICE, 1)),
    "owed": _undone(Card.VISA),
    "dashboard": _refunded_in_the_dashboard,
    "pending": _sold(Card.PENDING_REFUND, (None, ORDERED)),
    "owed-pending": _undone(Card.PENDING_REFUND),
    "failed": _failed,
    RESOLVED: _failed,
    "back": _taken_back,
    "disputed": _disputed,
    CHARGED_BACK: _disputed,
}
"""By name; each answers with the units that are to be put back. ``pending``: Stripe takes its time with the refund;
``resolved``: the person at a parked step tries nothing again; ``charged-back``: the bank decides for the customer."""
