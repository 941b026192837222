"""What the Temporal Web UI shows of an order: search attributes, and current details and labels in words."""

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
from domain.stuck_steps import Decision, StepAnswer
from workflows.order_ending import Ending
from workflows.payment_decision import Awaited, PaymentTerms, Wait

STATUS: Final = SearchAttributeKey.for_keyword(ORDER_STATUS_ATTRIBUTE)
TOTAL: Final = SearchAttributeKey.for_int(ORDER_TOTAL_ATTRIBUTE)
ATTENTION: Final = SearchAttributeKey.for_keyword(ORDER_ATTENTION_ATTRIBUTE)

MAX_NAME: Final = 100
MAX_NOTE: Final = 500
"""Characters of what people wrote that are shown."""

PAYMENT_IN_WORDS: Final[Mapping[PaymentStatus, str]] = {
    PaymentStatus.OPENING: "The payment is not open yet.",
    PaymentStatus.REQUIRES_PAYMENT_METHOD: "No card has been accepted yet.",
    PaymentStatus.REQUIRES_ACTION: "The customer has been asked to confirm the payment with their bank.",
    PaymentStatus.PROCESSING: "The payment is being processed; the order waits for its outcome even past the deadline.",
}
"""For the states in which an order waits."""


def show_received(lines: int) -> None:
    """The saga begins."""
    workflow.set_current_details(f"**RECEIVED**: pricing {lines} line(s), reserving stock and opening the payment.")


def label_wait(terms: PaymentTerms, wait: Wait) -> str:
    """The label of the wait in the Web UI's timeline, the first that people see of an order."""
    amount = format_money(terms.amount, terms.currency)
    return {
        Awaited.PAYMENT: f"waits for the payment of {amount} until {_time(terms.deadline)}",
        Awaited.EVENT: f"waits for the event that confirms the payment of {amount}",
        Awaited.SETTLEMENT: f"waits for the outcome of the payment of {amount}, which is being processed",
    }[wait.awaited]


def show_waiting(terms: PaymentTerms, payment: PaymentState, wait: Wait) -> None:
    """The order waits for its customer to pay, or for what became of the payment."""
    amount = f"**{format_money(terms.amount, terms.currency)}**"
    declined = f" Declined so far: {payment.failed_attempts} of {terms.max_attempts} attempts."
    text = {
        Awaited.PAYMENT: (
            f"waiting for the customer to pay {amount} until **{_time(terms.deadline)}**. "
            "If the payment has not succeeded by then, the order ends FAILED and its stock is released."
            f"\n\n{PAYMENT_IN_WORDS.get(payment.status, '')}{declined if payment.failed_attempts else ''}"
        ),
        Awaited.EVENT: (
            f"the payment of {amount} was accepted; waiting for the payment provider's signed event. "
            "If none arrives within seconds, the payment is read from the provider."
        ),
        Awaited.SETTLEMENT: (
            f"the order is to be closed, but its payment of {amount} is being processed and cannot be cancelled any "
            "more. Waiting until it has succeeded or failed."
        ),
    }[wait.awaited]
    workflow.set_current_details(f"**PENDING**: {text}\n\nPayment `{payment.payment_id}`, status {payment.status}")


def show_pending(quote: Quote) -> None:
    """The order is PENDING: lists can be filtered by its status and total."""
    workflow.upsert_search_attributes([STATUS.value_set(OrderStatus.PENDING.value), TOTAL.value_set(quote.total)])


def show_undoing(ending: Ending) -> None:
    """The order is being undone."""
    workflow.set_current_details(
        "Undoing the order: its payment is cancelled or refunded, then its stock is released. "
        f"It will end {_in_words(ending.status, ending.reason)}."
    )


def show_closed(status: OrderStatus, reason: str | None) -> None:
    """The order is closed."""
    workflow.upsert_search_attributes([STATUS.value_set(status.value)])
    workflow.set_current_details(_in_words(status, reason))


def show_refund(refund: RefundState) -> None:
    """Where a refund stands."""
    meaning = {
        RefundStatus.PENDING: "the payment provider is processing it, which may take days",
        RefundStatus.SUCCEEDED: "the money has been returned; the order and its stock are being updated",
        RefundStatus.RESOLVED: "it had failed, and a person has dealt with it",
        RefundStatus.REPLACED: "it had failed, and another refund was made in its place",
    }.get(refund.status, f"it did not reach the customer: {refund.failure_reason or 'no reason was given'}")
    workflow.set_current_details(
        f"**{refund.status}**, {format_money(refund.amount, refund.currency)} of order `{refund.order_id}`: {meaning}."
    )


def show_dispute(dispute: DisputeState) -> None:
    """Where a dispute stands."""
    amount = format_money(dispute.amount, dispute.currency)
    by = "" if dispute.respond_by is None else f" by **{_time(dispute.respond_by)}**"
    what_now = (
        f"Respond to it in the payment provider's dashboard{by}; this workflow ends when the bank has decided. "
        "Until then, refunds of the order are refused or wait, unless this is an inquiry that took no money."
    )
    workflow.set_current_details(
        f"**{dispute.status}**: the customer of order `{dispute.order_id}` disputes **{amount}** with their bank "
        f"({dispute.reason}).\n\n{what_now if dispute.status.is_open else 'The bank has decided.'}"
    )


def show_attention(step: str, note: str, action: str = "") -> None:
    """A step needs a person; `action` is what somebody did about it before."""
    workflow.upsert_search_attributes([ATTENTION.value_set(step)])
    subject = workflow.info().workflow_id.partition("-")[2]
    workflow.set_current_details(
        f"**Needs attention** at step `{step}`: {note}\n\n"
        "A step that fails is listed under Pending Activities, with its attempts and last error; "
        f"`ordersaga retry {subject}` attempts it at once. A step that was refused, and a refund that failed, waits "
        f"for that, or for `ordersaga resolve {subject}` once its work has been done by hand.\n\n{action}".rstrip()
    )


def show_attention_cleared(action: str) -> None:
    """Nobody is needed any more."""
    workflow.upsert_search_attributes([ATTENTION.value_unset()])
    workflow.set_current_details(action)


def describe_action(remedy: str, decision: Decision | None, answer: StepAnswer) -> str:
    """What somebody asked for, why, and what came of it."""
    by = "at Temporal, by nobody named" if decision is None else f"by **{decision.actor[:MAX_NAME]}**"
    why = "" if decision is None or not decision.note else f" ({decision.note[:MAX_NOTE]})"
    what = ": ".join(part for part in (answer.outcome, answer.refusal, answer.message) if part)
    return f"{_time(workflow.now())}: `{remedy}` of step `{answer.step}` {by}{why}: {what[:MAX_NOTE]}"


def _in_words(status: OrderStatus, reason: str | None) -> str:
    return f"**{status}**" + (f": {reason}" if reason else "")


def _time(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M:%S} UTC"
