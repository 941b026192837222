"""How a payment changes: one statement, made from the version that was read, with the events of what it changed.

Nothing here talks to Stripe, so no transaction, lock or pooled connection is ever held while Stripe is asked. Instead
a change is made from a version of the payment, and is refused when the payment has another one by then. What was read
at Stripe after a version had been read may be applied exactly as long as the version is still the same: otherwise
another re-read may have come first, may know more, and this one is done again. So a late re-read never overwrites a
newer one, across processes too, and a slow Stripe cannot use up the connections that webhooks need.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from domain.events import PAYMENT_EVENTS
from domain.ids import new_id
from domain.refunds import RefundOrigin, RefundStatus
from ordersaga.events.v1.payment_events_pb2 import PaymentChanged
from runtime.outbox import Event
from services.payment.errors import PaymentNotFound
from services.payment.model import Dispute, Payment, Refund
from services.payment.repository import PaymentRepository
from services.payment.stripe_port import FailedCharge


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What the world outside is told of a change."""

    type: str
    refund: Refund | None = None
    dispute: Dispute | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What becomes of a payment; without news nobody outside is told."""

    payment: Payment
    news: Sequence[News] = ()
    attempts: Sequence[FailedCharge] = ()


async def get_payment(repository: PaymentRepository, order_id: str) -> Payment:
    """The order's payment.

    Raises:
        PaymentNotFound: it has none.
    """
    payment = await repository.find_by_order(order_id)
    if payment is None:
        raise PaymentNotFound(order_id)
    return payment


async def write(repository: PaymentRepository, stored: Payment, change: Change) -> Payment | None:
    """Write what a change makes of the payment as it was read.

    Late money goes back: the refund is owed in the statement that learns of it, so that it cannot be forgotten.

    Returns:
        The payment after it; None, and nothing is changed, when it was made from an older version.
    """
    at = datetime.now(UTC)
    payment = change.payment
    if payment.amount_unowed:
        payment = payment.with_refund(_owed(payment, at=at))
    events = []
    for news in change.news:
        payment = replace(payment, seq=payment.seq + 1)
        events.append(make_event(payment, news, at=at))
    written = await repository.change_payment(
        payment,
        events=events,
        attempts=change.attempts,
        refunds=[refund for refund in payment.refunds if refund not in stored.refunds],
        disputes=[dispute for dispute in payment.disputes if dispute not in stored.disputes],
    )
    return replace(payment, version=payment.version + 1) if written else None


async def change_payment(
    repository: PaymentRepository, stored: Payment, decide: Callable[[Payment], Change | None]
) -> Payment:
    """Make the change that is decided on for the payment as it is stored by now; the payment after it."""
    while (change := decide(stored)) is not None:
        written = await write(repository, stored, change)
        if written is not None:
            return written
        stored = await get_payment(repository, stored.order_id)
    return stored


def make_event(payment: Payment, news: News, *, at: datetime) -> Event:
    """The payment's event number `seq`."""
    changed_at = Timestamp()
    changed_at.FromDatetime(at)
    refund, dispute = news.refund, news.dispute
    return Event(
        topic=PAYMENT_EVENTS,
        key=payment.order_id,
        type=news.type,
        aggregate="payment",
        aggregate_id=payment.id,
        seq=payment.seq,
        cause_id=payment.order_id,
        data=PaymentChanged(
            payment_id=payment.id,
            order_id=payment.order_id,
            status=payment.status.value,
            amount=payment.amount,
            currency=payment.currency,
            amount_received=payment.amount_received,
            amount_refunded=payment.amount_refunded,
            failed_attempts=payment.failed_attempts,
            at=changed_at,
            refund_id="" if refund is None else refund.id,
            refund_amount=0 if refund is None else refund.amount,
            dispute_id="" if dispute is None else dispute.id,
            dispute_status="" if dispute is None else dispute.status.value,
            dispute_amount=0 if dispute is None else dispute.amount,
        ),
        at=at,
    )


def _owed(payment: Payment, *, at: datetime) -> Refund:
    refund_id = new_id()
    return Refund(
        id=refund_id,
        restock_id=refund_id,
        origin=RefundOrigin.VOID,
        amount=payment.amount_unowed,
        currency=payment.money,
        status=RefundStatus.REQUESTED,
        created_at=at,
        why="the order ended without being paid",
    )
