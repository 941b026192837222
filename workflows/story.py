"""What the Temporal Web UI tells of an order: search attributes, and the current details in words."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from temporalio import workflow
from temporalio.common import SearchAttributeKey

from domain.money import format_money
from domain.orders import OrderStatus
from domain.saga import ORDER_ATTENTION_ATTRIBUTE, ORDER_STATUS_ATTRIBUTE, ORDER_TOTAL_ATTRIBUTE, PaymentState, Quote

STATUS: Final = SearchAttributeKey.for_keyword(ORDER_STATUS_ATTRIBUTE)
TOTAL: Final = SearchAttributeKey.for_int(ORDER_TOTAL_ATTRIBUTE)
ATTENTION: Final = SearchAttributeKey.for_keyword(ORDER_ATTENTION_ATTRIBUTE)


def tell_waiting(quote: Quote, payment: PaymentState, *, until: datetime, attempts: int) -> None:
    """The order waits for its customer to pay."""
    declined = f"{payment.failed_attempts} of {attempts} attempts to pay were declined."
    workflow.set_current_details(
        f"**PENDING**: waiting for the payment of **{format_money(quote.total, quote.currency)}** "
        f"until **{until:%Y-%m-%d %H:%M:%S} UTC**; after that the order fails and its stock is given back.\n\n"
        f"Payment `{payment.payment_id}` is {payment.status}. {declined if payment.failed_attempts else ''}"
    )


def tell_processing(quote: Quote) -> None:
    """The money is on its way and cannot be called back."""
    workflow.set_current_details(
        f"**PENDING**: {format_money(quote.total, quote.currency)} are being processed at the payment provider; "
        f"the order can be closed only once that is decided."
    )


def tell_pending(quote: Quote) -> None:
    """The order is PENDING: lists can filter on its status and total."""
    workflow.upsert_search_attributes([STATUS.value_set(OrderStatus.PENDING.value), TOTAL.value_set(quote.total)])


def tell_undoing(status: OrderStatus, reason: str | None) -> None:
    """The order is being undone."""
    workflow.set_current_details(f"Undoing the order; it ends **{status}** ({reason or 'no reason'}).")


def tell_closed(status: OrderStatus, reason: str | None) -> None:
    """The order is closed."""
    workflow.upsert_search_attributes([STATUS.value_set(status.value)])
    workflow.set_current_details(f"**{status}**" + (f": {reason}" if reason else ""))


def tell_attention(step: str, why: str) -> None:
    """A step needs a person."""
    workflow.upsert_search_attributes([ATTENTION.value_set(step)])
    workflow.set_current_details(f"**Needs attention** at step `{step}`: {why}")


def tell_attention_over() -> None:
    """The step got through."""
    workflow.upsert_search_attributes([ATTENTION.value_unset()])
    workflow.set_current_details("")
