"""Tables about an order's payment, for operators."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from domain.money import EXPONENTS, format_money
from runtime.on_call import Section
from services.payment.on_call.model import Attempt, ReceivedEvent
from services.payment.payments.model import Payment
from services.payment.refunds.model import RefundApproval


def payment_sections(payment: Payment) -> list[Section]:
    """The payment, its refunds and its disputes."""
    return [_of_payment(payment), _of_refunds(payment), _of_disputes(payment)]


def approvals_section(approvals: Sequence[RefundApproval], *, currency: str) -> Section:
    """What second persons let be given back, in the currency of what came in."""
    return Section(
        "refund approvals",
        ("approval", "amount", "approved_by", "note", "created_at", "expires_at", "refund"),
        [
            (
                each.id,
                money(each.amount, currency),
                each.approved_by,
                each.note,
                each.created_at,
                each.expires_at,
                each.refund_id,
            )
            for each in approvals
        ],
    )


def attempts_section(attempts: Sequence[Attempt]) -> Section:
    """The failed charges."""
    return Section(
        "payment attempts",
        ("charge", "decline_code", "at"),
        [(each.charge_id, each.decline_code, each.at) for each in attempts],
    )


def provider_events_section(events: Sequence[ReceivedEvent], *, deleted_until: datetime | None = None) -> Section:
    """Stripe's events; a row of its own says that some may have been deleted, those that were done by that moment."""
    deleted = [(None, None, None, "events that were done by then have been deleted", None, None, deleted_until)]
    return Section(
        "provider events",
        ("event", "type", "status", "why", "attempts", "received_at", "processed_at"),
        [
            *(deleted if deleted_until is not None else ()),
            *(
                (
                    each.event_id,
                    each.type,
                    each.status,
                    each.note or each.last_error,
                    each.attempts,
                    each.received_at,
                    each.processed_at,
                )
                for each in events
            ),
        ],
    )


def money(amount: int, currency: str) -> str | None:
    """An amount for people; None of a tombstone, which has no currency."""
    return format_money(amount, currency) if currency in EXPONENTS else None


def _of_payment(payment: Payment) -> Section:
    return Section(
        "payment",
        ("payment", "status", "amount", "received", "refunded", "intent", "payment_method", "closing", "created_at"),
        [
            (
                payment.id,
                payment.status,
                money(payment.amount, payment.currency),
                money(payment.amount_received, payment.settled_currency),
                money(payment.amount_refunded, payment.settled_currency),
                payment.intent_id,
                payment.payment_method,
                payment.closing,
                payment.created_at,
            )
        ],
    )


def _of_refunds(payment: Payment) -> Section:
    return Section(
        "refunds",
        (
            *("refund", "status", "origin", "amount", "stripe_refund", "failure_reason"),
            *("requested_by", "approved_by", "note", "created_at", "settled_at"),
        ),
        [
            (
                refund.id,
                refund.status,
                refund.origin,
                money(refund.amount, refund.currency),
                refund.stripe_refund_id,
                refund.failure_reason,
                refund.actor,
                refund.approved_by,
                refund.note,
                refund.created_at,
                refund.settled_at,
            )
            for refund in payment.refunds
        ],
    )


def _of_disputes(payment: Payment) -> Section:
    return Section(
        "disputes",
        ("dispute", "status", "reason", "amount", "withdrawn", "respond_by", "created_at"),
        [
            (
                dispute.id,
                dispute.status,
                dispute.reason,
                money(dispute.amount, dispute.currency),
                money(dispute.withdrawn, dispute.currency),
                dispute.respond_by,
                dispute.created_at,
            )
            for dispute in payment.disputes
        ],
    )
