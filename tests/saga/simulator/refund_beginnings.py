"""How a case of refunds begins: an order that is sold, or was undone, and what is to be given back of it.

Until then Temporal is away: the order has no saga, and what is to follow from its refunds and disputes waits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from domain.orders import OrderStatus, PricedLine, Reason
from domain.saga import (
    CloseRefundRequest,
    MarkPendingRequest,
    MarkRefundedRequest,
    MarkRequest,
    RefundState,
    RestockRequest,
)
from ordersaga.common.v1.order_line_pb2 import OrderLine
from ordersaga.payment.v1 import payment_pb2
from sandbox.stripe.objects import Charge, Refund, RefundStatus
from tests.saga.simulator import background, refund_events
from tests.saga.simulator.case import Case
from tests.saga.simulator.customer_events import ADMIN, VISA
from tests.saga.simulator.events import Events
from tests.saga.simulator.order_beginnings import PRICE, add_product, place
from tests.saga.simulator.schedule import Move
from tests.support.identities import signed_in

UNITS: Final = 10
ORDERED: Final = 3
DEADLINE: Final = datetime(2100, 1, 1, tzinfo=UTC)
PENDING_REFUND: Final = "pm_card_pendingRefund"


EVENTS: Final = Events(refund_events.EVENTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundBeginning:
    """What there is before the workflows of refunds and disputes start."""

    prepare: Callable[[Case], Awaitable[object]]
    moves: Sequence[Move] = ()
    events: Events = EVENTS
    is_of_an_order: bool = False

    async def begin(self, case: Case) -> None:
        """Bring the services there; the workflows start."""
        case.slot.calls.is_away = True
        await self.prepare(case)
        case.slot.calls.is_away = False
        await case.deliver()
        await background.follow_up_all(case.slot)


async def _open(case: Case, payment_method: str) -> None:
    await add_product(case, price=PRICE, units=UNITS)
    await place(case, quantity=ORDERED, payment_method=payment_method, window=900)
    services = case.slot.installation
    await services.repeat("reserve", case.requests["reserve"])
    payment = await services.repeat("open_payment", case.requests["open_payment"])
    pending = MarkPendingRequest(
        order_id=case.order_id,
        cause_id="pending",
        lines=[PricedLine(case.product_id, ORDERED, PRICE)],
        total=ORDERED * PRICE,
        payment_id=payment.payment_id,
        payment_deadline=DEADLINE,
    )
    await services.repeat("mark_pending", pending)


async def _close(case: Case, status: OrderStatus, reason: Reason | None) -> None:
    request = MarkRequest(order_id=case.order_id, cause_id="closed", status=status, reason=reason)
    await case.slot.installation.repeat("mark", request)
    await case.deliver()


async def _sell(case: Case, payment_method: str = VISA) -> None:
    await _open(case, payment_method)
    await case.slot.installation.repeat("commit", case.order_id)
    await _close(case, OrderStatus.PAID, None)


async def request_refund(case: Case, amount: int | None, units: int = 0) -> str:
    """An admin asks for a refund, of all that is left without an amount, and for units to be put back; its id."""
    case.counts["refund requests"] += 1
    request = payment_pb2.RequestRefundRequest(
        order_id=case.order_id,
        idempotency_key=f"refund {case.counts['refund requests']}",
        restock=_lines(case, units),
        ordered=_lines(case, ORDERED),
        wait_ms=0,
    )
    if amount is not None:
        request.amount = amount
    answer = await case.slot.installation.payments.RequestRefund(request, metadata=signed_in(ADMIN).metadata)
    case.requested_restock += units
    return answer.refund.id


def _lines(case: Case, units: int) -> list[OrderLine]:
    return [OrderLine(product_id=case.product_id, quantity=units)] if units else []


def _sold(payment_method: str, *refunds: tuple[int | None, int]) -> Callable[[Case], Awaitable[None]]:
    """A PAID order, and refunds that were asked for: how much of it, and how many units to put back."""

    async def prepare(case: Case) -> None:
        await _sell(case, payment_method)
        for amount, units in refunds:
            await request_refund(case, amount, units)

    return prepare


def _undone(payment_method: str) -> Callable[[Case], Awaitable[None]]:
    """A FAILED order whose payment was voided when the money was in."""

    async def prepare(case: Case) -> None:
        await _open(case, payment_method)
        await case.slot.installation.repeat("void_payment", case.order_id)
        await case.slot.installation.repeat("release", case.order_id)
        await _close(case, OrderStatus.FAILED, Reason.PAYMENT_MISMATCH)

    return prepare


async def _refunded_in_the_dashboard(case: Case) -> None:
    await _sell(case)
    await refund_events.refund_in_dashboard(case, PRICE)


async def _carried_out(case: Case) -> RefundState:
    await _sell(case)
    state: RefundState = await case.slot.installation.repeat("carry_out_refund", await request_refund(case, PRICE, 1))
    return state


async def _failed(case: Case) -> None:
    """A part was given back, and Stripe says that it failed before anything followed from it."""
    await _carried_out(case)
    _take_back(case)


async def _taken_back(case: Case) -> None:
    """A part was given back, all was done that follows from it, and then Stripe took it back."""
    state = await _carried_out(case)
    services = case.slot.installation
    marked = MarkRefundedRequest(
        order_id=case.order_id, refund_id=state.refund_id, amount=state.amount, succeeded=True, version=state.version
    )
    await services.repeat("mark_refunded", marked)
    restock = RestockRequest(restock_id=state.restock_id, order_id=case.order_id, lines=state.restock)
    await services.repeat("restock", restock)
    await services.repeat("close_refund", CloseRefundRequest(refund_id=state.refund_id, version=state.version))
    _take_back(case)


def _take_back(case: Case) -> None:
    account = case.slot.installation.account
    account.change_refund(account.all(Refund)[0].id, RefundStatus.FAILED)


async def _disputed(case: Case) -> None:
    """A part is asked for, and the customer goes to their bank before it is made."""
    await _sold(VISA, (PRICE, 1))(case)
    account = case.slot.installation.account
    account.open_dispute(account.all(Charge)[0].id)
    await case.deliver()


REFUNDS: Final[Mapping[str, RefundBeginning]] = {
    "all": RefundBeginning(prepare=_sold(VISA, (None, ORDERED))),
    "part": RefundBeginning(prepare=_sold(VISA, (PRICE, 1))),
    "two": RefundBeginning(prepare=_sold(VISA, (PRICE, 1), (PRICE, 1))),
    "undone": RefundBeginning(prepare=_undone(VISA)),
    "dashboard": RefundBeginning(prepare=_refunded_in_the_dashboard),
    "pending": RefundBeginning(prepare=_sold(PENDING_REFUND, (None, ORDERED))),
    "undone-pending": RefundBeginning(prepare=_undone(PENDING_REFUND)),
    "failed": RefundBeginning(prepare=_failed),
    "resolved": RefundBeginning(prepare=_failed),
    "back": RefundBeginning(prepare=_taken_back),
    "disputed": RefundBeginning(prepare=_disputed),
    "charged-back": RefundBeginning(prepare=_disputed),
}
"""``undone``: the money goes back because the order failed; ``pending``: Stripe takes its time with the refund;
``resolved``: the person at a parked step resolves it at once; ``charged-back``: the bank decides for the customer."""
