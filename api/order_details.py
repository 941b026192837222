"""What other services know of an order: its payment, refunds and timeline, as its readers see them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Final, TypeAlias

import structlog
from litestar.params import QueryParameter

from api.schemas.orders import CustomerAction, Decline, Timeline, TimelineEntry
from api.schemas.payments import Payment, Refund
from api.services import Services
from domain.declines import DECLINES, shown_decline_code
from domain.refusals import Refusal
from ordersaga.payment.v1 import payment_pb2 as pb
from runtime.caller import Caller
from runtime.order_records import collect_order_record
from runtime.protos import from_proto
from runtime.refusal import CallRefused
from runtime.rpc_client import ServiceUnavailable, call
from runtime.validation import Violations

log = structlog.stdlib.get_logger(__name__)


class Expansion(StrEnum):
    """What an order can be read with."""

    PAYMENT = "payment"
    REFUNDS = "refunds"
    TIMELINE = "timeline"


_SEVERAL: Final = ", ".join(Expansion)
_ONE: Final = "|".join(Expansion)
Expand: TypeAlias = Annotated[
    str,
    QueryParameter(
        description=f"What to read with the order, separated by commas: {_SEVERAL}.",
        schema_extra={"pattern": f"^(({_ONE})(,({_ONE}))*)?$"},
    ),
]
ACTIONS: Final = {
    pb.PAYMENT_STATUS_REQUIRES_PAYMENT_METHOD: CustomerAction.PAY,
    pb.PAYMENT_STATUS_REQUIRES_ACTION: CustomerAction.AUTHENTICATE,
}
"""What a payment waits for its customer to do, by its status."""


def check_expansions(violations: Violations, expand: str) -> frozenset[Expansion]:
    """What is asked for; notes what there is not."""
    names = expand.split(",") if expand else []
    if unknown := [name for name in names if name not in set(Expansion)]:
        violations.add("expand", f"{unknown[0]!r} is none of {_SEVERAL}")
        return frozenset()
    return frozenset(map(Expansion, names))


async def find_payment(order_id: str, *, caller: Caller, services: Services) -> pb.GetPaymentOfOrderResponse | None:
    """The order's payment; None where there is none, or it cannot be had: the order is worth an answer without it."""
    request = pb.GetPaymentOfOrderRequest(order_id=order_id)
    try:
        return await call(services.payment.GetPaymentOfOrder, request, caller=caller, deadline=services.deadline)
    except (CallRefused, ServiceUnavailable) as error:
        log.warning("order.payment_missing", order_id=order_id, problem=str(error))
        return None


def show_payment(payment: pb.Payment) -> Payment:
    """The payment as its readers see it."""
    return from_proto(Payment, payment)


def show_decline(payment: pb.Payment) -> Decline | None:
    """Why the last attempt failed, if one did."""
    if not payment.failed_attempts:
        return None
    code = shown_decline_code(payment.last_decline_code)
    return Decline(code=code, message=DECLINES[code])


async def read_refunds(order_id: str, *, caller: Caller, services: Services) -> Sequence[Refund]:
    """Every refund of an order that the caller may see, the oldest first.

    Raises:
        ServiceUnavailable: the payment service does not answer.
    """
    try:
        request = pb.ListRefundsRequest(order_id=order_id)
        answer = await call(services.payment.ListRefunds, request, caller=caller, deadline=services.deadline)
    except CallRefused as refused:
        if refused.refusal is not Refusal.PAYMENT_NOT_FOUND:
            raise
        return []
    return [from_proto(Refund, refund) for refund in answer.refunds]


async def read_timeline(order_id: str, *, caller: Caller, services: Services) -> Timeline:
    """What happened to an order that the caller may see; what a service did not say is named as missing."""
    record = await collect_order_record(services.on_call, order_id, caller=caller, deadline=services.deadline)
    return Timeline(
        entries=[
            TimelineEntry(
                at=entry.at, type=entry.type, text=entry.text, actor=entry.actor or None, note=entry.note or None
            )
            for entry in record.timeline
        ],
        missing=[part.value for part in record.missing],
    )
