"""What happened to an order's payment, for its timeline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from domain.payments import PaymentStatus
from domain.refunds import DisputeStatus
from runtime.on_call import TimelineEntry
from services.payment.on_call.model import Attempt, PublishedStatus, ReceivedEvent
from services.payment.on_call.sections import money
from services.payment.payments.model import Dispute, Payment, Refund
from services.payment.refunds.decisions import REFUND_FAILED_EVENT, REFUNDED_EVENT
from services.payment.refunds.model import RefundApproval
from services.payment.stripe.event_types import HANDLED_EVENT_TYPES
from services.payment.tables import EventStatus

_DECLINED: Final = "the bank declined the payment"
# What Stripe asks not to be told to customers, such as that a card is stolen, has no words here
# (https://docs.stripe.com/declines/codes).
_DECLINES: Final[Mapping[str, str]] = {
    "insufficient_funds": "there was too little money on the card's account",
    "card_velocity_exceeded": "the card's limit was exceeded",
    "withdrawal_count_limit_exceeded": "the card's limit was exceeded",
    "expired_card": "the card has expired",
    "incorrect_cvc": "the card's security code was wrong",
    "invalid_cvc": "the card's security code was wrong",
    "incorrect_number": "the card's number was wrong",
    "invalid_number": "the card's number was wrong",
    "authentication_required": "the bank wants the customer to confirm the payment",
    "payment_intent_authentication_failure": "the customer did not confirm the payment with their bank",
    "card_not_supported": "the card is not for purchases of this kind",
    "currency_not_supported": "the card is not for this currency",
    "processing_error": "the bank could not process the payment",
}
_REACHED: Final[Mapping[str, str]] = {
    PaymentStatus.PROCESSING: "the bank processes the payment",
    PaymentStatus.SUCCEEDED: "the payment succeeded",
    PaymentStatus.CANCELLED: "the payment was cancelled",
}
"""States of which the timeline tells; the others are steps of one attempt to pay."""
_BECAME: Final[Mapping[str, tuple[str, str]]] = {
    REFUNDED_EVENT: ("refund.settled", "was given back"),
    REFUND_FAILED_EVENT: ("refund.failed", "could not be given back"),
}
"""Entries about what became of a refund, by the events that say it."""


def timeline(
    payment: Payment,
    *,
    attempts: Sequence[Attempt],
    approvals: Sequence[RefundApproval],
    published: Sequence[PublishedStatus],
    received: Sequence[ReceivedEvent],
) -> list[TimelineEntry]:
    """Everything that is known of when it happened.

    Args:
        payment: with its refunds and disputes.
        attempts: its failed charges.
        approvals: of its refunds.
        published: what its own events said, oldest first.
        received: Stripe's events about it.
    """
    entries = [*_of_attempts(attempts), *_of_states(published)]
    if payment.user_id is not None:  # a tombstone was never opened
        amount = money(payment.amount, payment.currency)
        opened = TimelineEntry(
            at=payment.created_at, type="payment.opened", text=f"a payment of {amount} was opened", for_customer=True
        )
        entries.insert(0, opened)
    entries += _of_approvals(payment, approvals)
    for refund in payment.refunds:
        entries += _of_refund(refund, published)
    for dispute in payment.disputes:
        entries += _of_dispute(dispute, published)
    for event in received:
        entries += _of_event(event)
    return entries


def _of_attempts(attempts: Sequence[Attempt]) -> Iterator[TimelineEntry]:
    for attempt in attempts:
        words = _DECLINES.get(attempt.decline_code or "")
        text = _DECLINED if words is None else f"{_DECLINED}: {words}"
        yield TimelineEntry(at=attempt.at, type="payment.declined", text=text, for_customer=True)


def _of_states(published: Sequence[PublishedStatus]) -> Iterator[TimelineEntry]:
    """When the payment first was in each state that is told of."""
    before = set[str]()
    for event in published:
        if event.status in _REACHED and event.status not in before:
            yield TimelineEntry(
                at=event.at, type=f"payment.{event.status.lower()}", text=_REACHED[event.status], for_customer=True
            )
        before.add(event.status)


def _of_approvals(payment: Payment, approvals: Sequence[RefundApproval]) -> Iterator[TimelineEntry]:
    for approval in approvals:
        amount = money(approval.amount, payment.settled_currency)
        yield TimelineEntry(
            at=approval.created_at,
            type="refund.approved",
            text=f"up to {amount} may be given back, if somebody else asks (approval {approval.id})",
            actor=approval.approved_by,
            note=approval.note,
        )


def _of_refund(refund: Refund, published: Sequence[PublishedStatus]) -> Iterator[TimelineEntry]:
    amount = money(refund.amount, refund.currency)
    approved = f", approved by {refund.approved_by}" if refund.approved_by else ""
    yield TimelineEntry(
        at=refund.created_at,
        type="refund.requested",
        text=f"{amount} shall be given back (refund {refund.id}{approved})",
        actor=refund.actor,
        note=refund.note,
    )
    for event in published:  # a bank may send back what was given back
        if event.refund_id == refund.id and event.type in _BECAME:
            kind, became = _BECAME[event.type]
            yield TimelineEntry(
                at=event.at, type=kind, text=f"{amount} {became} (refund {refund.id})", for_customer=True
            )


def _of_dispute(dispute: Dispute, published: Sequence[PublishedStatus]) -> Iterator[TimelineEntry]:
    amount = money(dispute.amount, dispute.currency)
    text = f"the customer's bank disputes {amount}: {dispute.reason} ({dispute.id})"
    yield TimelineEntry(at=dispute.created_at, type="dispute.opened", text=text)
    closed = {status.value for status in DisputeStatus if not status.is_open}
    ends = [each for each in published if each.dispute_id == dispute.id and each.dispute_status in closed]
    if ends:
        end = ends[-1]
        yield TimelineEntry(
            at=end.at, type="dispute.closed", text=f"the dispute {dispute.id} ended {end.dispute_status}"
        )


def _of_event(event: ReceivedEvent) -> Iterator[TimelineEntry]:
    if event.type not in HANDLED_EVENT_TYPES:
        return
    what = f"Stripe's {event.type} ({event.event_id})"
    yield TimelineEntry(at=event.received_at, type="provider_event.received", text=f"{what} came in")
    if event.processed_at is not None and event.status != EventStatus.RECEIVED:
        note = f": {event.note}" if event.note else ""
        yield TimelineEntry(
            at=event.processed_at,
            type=f"provider_event.{event.status.lower()}",
            text=f"{what} is {event.status}{note}",
        )
