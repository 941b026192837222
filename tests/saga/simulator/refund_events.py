"""What can happen to the refunds and disputes of an order: at Stripe, at banks, and on our side."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import grpc.aio

from domain.orders import OrderLine
from domain.saga import RestockRequest
from ordersaga.payment.v1 import payment_pb2
from sandbox.stripe.disputes import DisputeStatus
from sandbox.stripe.objects import Charge, RefundStatus
from tests.saga.simulator.customer_events import ADMIN
from tests.saga.simulator.events import ANYWHERE, AROUND_STEPS, CRASH, Event, Where
from tests.saga.simulator.oracle import BY_HAND
from tests.saga.simulator.turns import Flow
from tests.support.identities import signed_in

if TYPE_CHECKING:
    from tests.saga.simulator.case import Case

PART: Final = 500
"""Minor units."""
RETURNED: Final = 3
"""Units that somebody puts back by hand: all that were sold."""
NOT_AT_THE_END: Final = ANYWHERE - {Where.END}

Happens = Callable[["Case", Flow | None], Awaitable[object]]


def _moves(status: RefundStatus, *, of: RefundStatus) -> Event:
    """The first refund that stands there moves on."""

    async def happen(case: Case, flow: Flow | None) -> None:
        case.slot.installation.account.change_refund(case.at_stripe.refunds_that_are(of)[0].id, status)

    return _at_stripe(lambda case: bool(case.at_stripe.refunds_that_are(of)), happen)


def _is_decided(status: DisputeStatus) -> Event:
    """The bank decides about a chargeback; an inquiry only ends."""

    async def happen(case: Case, flow: Flow | None) -> None:
        dispute = case.at_stripe.open_disputes[0]
        is_inquiry = dispute.status.startswith("warning")
        case.slot.installation.account.change_dispute(
            dispute.id, DisputeStatus.WARNING_CLOSED if is_inquiry else status
        )

    return _at_stripe(lambda case: bool(case.at_stripe.open_disputes), happen)


def _is_disputed(status: DisputeStatus) -> Event:
    async def happen(case: Case, flow: Flow | None) -> None:
        account = case.slot.installation.account
        account.open_dispute(account.all(Charge)[0].id, status=status)

    return _at_stripe(lambda case: not case.at_stripe.disputes and case.at_stripe.is_disputable, happen)


def _dashboard(amount: Callable[[Case], int]) -> Event:
    async def happen(case: Case, flow: Flow | None) -> None:
        await refund_in_dashboard(case, amount(case))

    return _at_stripe(
        lambda case: 0 < amount(case) <= case.at_stripe.left and not case.at_stripe.is_charged_back, happen
    )


def _at_stripe(is_possible: Callable[[Case], bool], happen: Happens) -> Event:
    return Event(is_possible=is_possible, happen=happen, where=ANYWHERE, is_at_stripe=True)


async def refund_in_dashboard(case: Case, amount: int) -> None:
    """Somebody gives so much back, minor units, in Stripe's dashboard."""
    assert case.at_stripe.intent is not None
    refunds = case.slot.installation.reader.v1.refunds
    await refunds.create_async({"payment_intent": case.at_stripe.intent.id, "amount": amount})


async def _ask(case: Case, flow: Flow | None) -> None:
    """An admin wants a part of the rest."""
    request = payment_pb2.RequestRefundRequest(order_id=case.order_id, idempotency_key="asked", amount=PART, wait_ms=0)
    with suppress(grpc.aio.AioRpcError):  # it is refused
        await case.slot.installation.payments.RequestRefund(request, metadata=signed_in(ADMIN).metadata)


async def _cancel(case: Case, flow: Flow | None) -> None:
    if flow is not None:
        await case.cancel_workflow(flow)


async def _put_back_by_hand(case: Case, flow: Flow | None) -> None:
    lines = [OrderLine(case.product_id, RETURNED)]
    request = RestockRequest(restock_id=BY_HAND, order_id=case.order_id, lines=lines)
    with suppress(Exception):  # too many came back before
        await case.slot.installation.repeat("restock", request)


async def _die(case: Case, flow: Flow | None) -> None:
    assert flow is not None
    flow.dies = True


def _decides(decision: str) -> Event:
    async def happen(case: Case, flow: Flow | None) -> None:
        case.scheduled_decision = decision

    return Event(is_possible=_always, happen=happen, where=frozenset({Where.ATTENTION}))


def _always(case: Any) -> bool:
    return True


EVENTS: Final[Mapping[str, Event]] = {
    # at Stripe, and at banks
    "finished": _moves(RefundStatus.SUCCEEDED, of=RefundStatus.PENDING),
    "failed": _moves(RefundStatus.FAILED, of=RefundStatus.PENDING),
    "canceled": _moves(RefundStatus.CANCELED, of=RefundStatus.PENDING),
    "back": _moves(RefundStatus.FAILED, of=RefundStatus.SUCCEEDED),
    "disputed": _is_disputed(DisputeStatus.NEEDS_RESPONSE),
    "inquired": _is_disputed(DisputeStatus.WARNING_NEEDS_RESPONSE),
    "won": _is_decided(DisputeStatus.WON),
    "lost": _is_decided(DisputeStatus.LOST),
    "part": _dashboard(lambda case: PART),
    "rest": _dashboard(lambda case: case.at_stripe.left),
    # Stripe's events on their way
    "heard": Event(
        is_possible=lambda case: case.at_stripe.has_outstanding_events,
        happen=lambda case, flow: case.deliver(),
        where=NOT_AT_THE_END,
    ),
    # on our side
    "asked": Event(
        is_possible=lambda case: case.at_stripe.left >= PART and not case.schedule.beginning.startswith("undone"),
        happen=_ask,
        where=frozenset({Where.BEFORE, Where.INSIDE, Where.ATTENTION}),
    ),
    "raw": Event(is_possible=_always, happen=_cancel),
    "returned": Event(
        is_possible=lambda case: case.requested_restock > 0 and not case.effects["restocked"],
        happen=_put_back_by_hand,
        where=frozenset({Where.BEFORE}),
    ),
    "retry": _decides("retry"),
    "resolve": _decides("resolve"),
    # the worker
    CRASH: Event(is_possible=_always, happen=_die, where=AROUND_STEPS - {Where.BEFORE}),
}
"""By name. Asked: an admin wants a part of the rest; returned: all units are put back by hand; retry and resolve: what
the person at the parked step decides; crash: the worker dies with the workflow task that it is at."""
