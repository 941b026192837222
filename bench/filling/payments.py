"""The payment database: payments with their attempts, refunds and Stripe's events."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final

from bench.filling.goods import CURRENCY
from bench.filling.sheets import Events, Sheet, to_json
from bench.filling.story import Ending, FilledOrder, moment
from domain.events import PAYMENT_EVENTS
from domain.payments import PaymentStatus
from domain.refunds import RefundOrigin, RefundStatus
from services.payment.tables import AttemptRow, EventStatus, Outbox, PaymentRow, ProviderEventRow, RefundRow

_PUBLISHED_AFTER: Final = timedelta(milliseconds=200)
_SECRET_BYTES: Final = 83
"""A sealed client secret's."""
_DUE_AFTER: Final = timedelta(seconds=45)


class PaymentDatabase:
    """Its sheets, in the order in which they can be written."""

    def __init__(self, random: Random, *, intents: bool) -> None:
        self._random = random
        self._intents = intents
        self._payments = Sheet(
            PaymentRow,
            *("id", "order_id", "user_id", "amount", "currency", "payment_method", "status", "intent_id"),
            *("client_secret", "amount_received", "currency_received", "closing", "voided", "generation"),
            *("generation_at", "seq", "version", "created_at", "updated_at"),
        )
        self._attempts = Sheet(AttemptRow, "charge_id", "payment_id", "decline_code", "at")
        self._refunds = Sheet(
            RefundRow,
            *("id", "payment_id", "origin", "amount", "currency", "status", "stripe_refund_id", "generation"),
            *("restock", "restock_id", "note", "version", "saga_open", "notified_version", "created_at", "settled_at"),
            *("updated_at", "attempts", "next_attempt_at"),
        )
        self._provider_events = Sheet(
            ProviderEventRow,
            *("event_id", "type", "intent_id", "order_id", "received_at", "status", "note", "processed_at"),
            *("attempts", "next_attempt_at"),
        )
        self._events = Events(Outbox, topic=PAYMENT_EVENTS, aggregate="payment", random=random)
        self.sheets: Sequence[Sheet] = [
            *(self._payments, self._attempts, self._refunds, self._provider_events, self._events),
        ]

    def add(self, order: FilledOrder) -> None:
        """One order's payment, unless none was opened."""
        if order.payment_id is None or order.total is None:
            return
        intent_id = self._drawn("pi") if self._intents else None
        status, is_sold, is_open = _status(order), order.ending.is_sold, order.ending is Ending.OPEN
        ended_at = order.opened_at if is_open else order.history[2].at
        received = order.total if is_sold else 0
        steps = _steps(order, order.payment_id, order.total)
        self._payments.add(
            *(order.payment_id, order.id, order.user_id, order.total, CURRENCY, "pm_card_visa", status, intent_id),
            self._random.randbytes(_SECRET_BYTES) if is_open and intent_id else None,
            *(received, CURRENCY if is_sold else None, not is_sold and not is_open, not is_sold and not is_open),
            *(0, order.opened_at, len(steps), len(steps) - 1, order.opened_at, ended_at),
        )
        if order.ending is Ending.NOT_PAID:
            self._attempts.add(self._drawn("ch"), order.payment_id, "insufficient_funds", order.opened_at)
        self._add_refund(order, order.payment_id)
        if not order.is_recent:
            return
        for seq, (kind, data, at) in enumerate(steps, start=1):
            self._events.add_event(
                kind,
                of=order.payment_id,
                seq=seq,
                key=order.id,
                cause=order.id,
                data=to_json(data),
                at=at,
                published_at=at + _PUBLISHED_AFTER,
            )
        for kind in _told_by_stripe(order):
            self._provider_events.add(
                *(self._drawn("evt"), kind, intent_id, order.id, ended_at, EventStatus.APPLIED, "", ended_at, 1),
                ended_at + _DUE_AFTER,
            )

    def _add_refund(self, order: FilledOrder, payment_id: str) -> None:
        refund = order.refund
        if refund is None:
            return
        is_whole = order.ending is Ending.REFUNDED
        restock = [{"product_id": line.product.id, "quantity": line.quantity} for line in order.lines]
        self._refunds.add(
            *(refund.id, payment_id, RefundOrigin.ADMIN, refund.amount, CURRENCY, RefundStatus.SUCCEEDED),
            *(self._drawn("re") if self._intents else None, 0, to_json(restock if is_whole else []), refund.id),
            *("", 2, False, 2, refund.at, refund.at, refund.at, 1, refund.at),
        )

    def _drawn(self, kind: str) -> str:
        """An id as Stripe's are."""
        return f"{kind}_{self._random.getrandbits(96):024x}"


def _status(order: FilledOrder) -> PaymentStatus:
    if order.ending.is_sold:
        return PaymentStatus.SUCCEEDED
    return PaymentStatus.REQUIRES_PAYMENT_METHOD if order.ending is Ending.OPEN else PaymentStatus.CANCELLED


def _told_by_stripe(order: FilledOrder) -> list[str]:
    match order.ending:
        case Ending.OPEN:
            return []
        case Ending.NOT_PAID:
            return ["payment_intent.payment_failed", "payment_intent.canceled"]
        case Ending.CANCELLED:
            return ["payment_intent.canceled"]
        case Ending.REFUNDED | Ending.PARTIALLY_REFUNDED:
            return ["payment_intent.succeeded", "charge.refunded"]
        case _:
            return ["payment_intent.succeeded"]


def _steps(order: FilledOrder, payment_id: str, total: int) -> list[tuple[str, dict[str, Any], datetime]]:
    """The payment's events: type, data and moment."""

    def step(
        kind: str, status: PaymentStatus, at: datetime, *, received: int = 0, refunded: int = 0
    ) -> tuple[str, dict[str, Any], datetime]:
        data = {
            "paymentId": payment_id,
            "orderId": order.id,
            "status": status,
            "amount": str(total),
            "currency": CURRENCY,
            "amountReceived": str(received),
            "amountRefunded": str(refunded),
            "failedAttempts": int(order.ending is Ending.NOT_PAID and kind == updated),
            "at": moment(at),
            "refundId": order.refund.id if order.refund and refunded else "",
            "refundAmount": str(refunded),
            "disputeId": "",
            "disputeStatus": "",
            "disputeAmount": "0",
        }
        return kind, data, at

    updated, open_status = "payment.status_updated", PaymentStatus.REQUIRES_PAYMENT_METHOD
    steps = [
        step("payment.created", open_status, order.opened_at),
        step(updated, open_status, order.opened_at),
    ]
    if order.ending is not Ending.OPEN:
        received = total if order.ending.is_sold else 0
        steps.append(step(updated, _status(order), order.history[2].at, received=received))
    if order.refund is not None:
        refunded = order.refund.amount
        steps.append(
            step("payment.refunded", PaymentStatus.SUCCEEDED, order.refund.at, received=total, refunded=refunded)
        )
    return steps
