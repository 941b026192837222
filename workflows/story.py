"""What the Temporal Web UI tells of an order: search attributes, and the current details in words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from temporalio import workflow
from temporalio.common import SearchAttributeKey

from domain.money import format_money
from domain.orders import OrderStatus
from domain.payments import PaymentStatus
from domain.refunds import RefundStatus
from domain.saga import (
    ORDER_ATTENTION_ATTRIBUTE,
    ORDER_STATUS_ATTRIBUTE,
    ORDER_TOTAL_ATTRIBUTE,
    DisputeState,
    PaymentState,
    Quote,
    RefundState,
)

STATUS: Final = SearchAttributeKey.for_keyword(ORDER_STATUS_ATTRIBUTE)
TOTAL: Final = SearchAttributeKey.for_int(ORDER_TOTAL_ATTRIBUTE)
ATTENTION: Final = SearchAttributeKey.for_keyword(ORDER_ATTENTION_ATTRIBUTE)

PAYMENT_IN_WORDS: Final[Mapping[PaymentStatus, str]] = {
    PaymentStatus.OPENING: "The payment is not open yet.",
    PaymentStatus.REQUIRES_PAYMENT_METHOD: "No card has been accepted yet.",
    PaymentStatus.REQUIRES_ACTION: "The customer's bank asks them to confirm the payment.",
    PaymentStatus.PROCESSING: "The money is on its way; the order waits for it beyond that time too.",
}
"""For the states in which an order waits."""


def tell_received(lines: int) -> None:
    """The saga begins."""
    workflow.set_current_details(f"**RECEIVED**: pricing {lines} line(s), reserving stock and opening the payment.")


def name_wait(quote: Quote, *, until: datetime | None) -> str:
    """The label of the wait in the Web UI's timeline, the first that people see of an order."""
    total = format_money(quote.total, quote.currency)
    return f"waits for the payment of {total} {f'until {until:%Y-%m-%d %H:%M:%S} UTC' if until else 'on its way'}"


def tell_waiting(quote: Quote, payment: PaymentState, *, until: datetime, attempts: int) -> None:
    """The order waits for its customer to pay, or for the proof that they did."""
    total = format_money(quote.total, quote.currency)
    if payment.status is PaymentStatus.SUCCEEDED:
        workflow.set_current_details(
            f"**PENDING**: the payment of **{total}** was accepted; waiting for the payment provider's signed event. "
            f"If none comes within seconds, the provider is asked.\n\nPayment `{payment.payment_id}`"
        )
        return
    declined = f" Declined so far: {payment.failed_attempts} of {attempts} attempts."
    workflow.set_current_details(
        f"**PENDING**: waiting for the customer to pay **{total}** until **{until:%Y-%m-%d %H:%M:%S} UTC**. "
        f"Without the money by then, the order ends FAILED and its stock is given back.\n\n"
        f"{PAYMENT_IN_WORDS.get(payment.status, '')}{declined if payment.failed_attempts else ''}\n\n"
        f"Payment `{payment.payment_id}`, status {payment.status}"
    )


def tell_processing(quote: Quote) -> None:
    """The money is on its way and cannot be called back."""
    workflow.set_current_details(
        f"**PENDING**: the order is to be closed, but **{format_money(quote.total, quote.currency)}** are on their way "
        f"at the payment provider and cannot be called back. Waiting until they have arrived or failed."
    )


def tell_pending(quote: Quote) -> None:
    """The order is PENDING: lists can filter on its status and total."""
    workflow.upsert_search_attributes([STATUS.value_set(OrderStatus.PENDING.value), TOTAL.value_set(quote.total)])


def tell_undoing(status: OrderStatus, reason: str | None) -> None:
    """The order is being undone."""
    workflow.set_current_details(
        f"Undoing the order: the payment is cancelled or refunded, then the stock is given back. "
        f"It ends {_ending(status, reason)}."
    )


def tell_closed(status: OrderStatus, reason: str | None) -> None:
    """The order is closed."""
    workflow.upsert_search_attributes([STATUS.value_set(status.value)])
    workflow.set_current_details(_ending(status, reason))


def tell_refund(refund: RefundState) -> None:
    """How a refund stands."""
    meaning = {
        RefundStatus.PENDING: "the payment provider has it and is not done with it, which may take days",
        RefundStatus.SUCCEEDED: "the money is given back; order and stock follow",
        RefundStatus.RESOLVED: "it had failed, and a person dealt with it",
        RefundStatus.REPLACED: "it had failed, and another refund was made in its place",
    }.get(refund.status, f"it did not reach the customer: {refund.failure_reason or 'no reason is known'}")
    workflow.set_current_details(
        f"**{refund.status}**, {format_money(refund.amount, refund.currency)} of order `{refund.order_id}`: {meaning}."
    )


def tell_dispute(dispute: DisputeState) -> None:
    """How a dispute stands."""
    amount = format_money(dispute.amount, dispute.currency)
    until = "" if dispute.respond_by is None else f" until **{dispute.respond_by:%Y-%m-%d %H:%M:%S} UTC**"
    what_now = (
        f"Answer it in the payment provider's dashboard{until}; this workflow ends when the bank has decided. "
        "Refunds of the order are refused or wait meanwhile, unless this is an inquiry that took no money."
    )
    workflow.set_current_details(
        f"**{dispute.status}**: the customer of order `{dispute.order_id}` disputes **{amount}** with their bank "
        f"({dispute.reason}).\n\n{what_now if dispute.status.is_open else 'The bank has decided.'}"
    )


def tell_attention(step: str, why: str) -> None:
    """A step needs a person."""
    workflow.upsert_search_attributes([ATTENTION.value_set(step)])
    workflow.set_current_details(
        f"**Needs attention** at step `{step}`: {why}\n\n"
        "A step that fails is under Pending Activities, with its attempts and last error. A step that was refused "
        "waits for the update `retry`, or for `resolve` once its work was done by hand."
    )


def tell_attention_over() -> None:
    """The step got through."""
    workflow.upsert_search_attributes([ATTENTION.value_unset()])
    workflow.set_current_details("")


def _ending(status: OrderStatus, reason: str | None) -> str:
    return f"**{status}**" + (f": {reason}" if reason else "")
