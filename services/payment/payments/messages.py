"""Between protobuf messages and payments."""

from __future__ import annotations

from datetime import datetime

from domain.events import PAYMENT_EVENTS
from ordersaga.events.v1.payment_events_pb2 import PaymentChanged
from ordersaga.payment.v1 import payment_pb2 as pb
from runtime.outbox import Event
from runtime.protos import to_proto, to_timestamp
from services.payment.payments.model import Dispute, Payment, PaymentUpdate


def payment_to_proto(payment: Payment) -> pb.Payment:
    """A payment on the wire, in the currency of what came in."""
    disputes = [dispute_to_proto(payment, dispute) for dispute in payment.disputes]
    may_be_refunded = not payment.voided and payment.open_dispute is None
    return to_proto(
        pb.Payment,
        payment,
        currency=payment.settled_currency,
        disputes=disputes,
        amount_refundable=payment.amount_refundable if may_be_refunded else 0,
    )


def dispute_to_proto(payment: Payment, dispute: Dispute) -> pb.Dispute:
    """A dispute of the payment on the wire."""
    return to_proto(pb.Dispute, dispute, order_id=payment.order_id)


def to_event(payment: Payment, update: PaymentUpdate, *, seq: int, at: datetime) -> Event:
    """The payment's event number `seq`, after a change at this moment."""
    refund, dispute = update.refund, update.dispute
    return Event(
        topic=PAYMENT_EVENTS,
        key=payment.order_id,
        type=update.type,
        aggregate="payment",
        aggregate_id=payment.id,
        seq=seq,
        cause_id=payment.order_id,
        data=to_proto(
            PaymentChanged,
            payment,
            payment_id=payment.id,
            status=payment.status.value,
            at=to_timestamp(at),
            refund_id=refund and refund.id,
            refund_amount=refund and refund.amount,
            dispute_id=dispute and dispute.id,
            dispute_status=dispute and dispute.status.value,
            dispute_amount=dispute and dispute.amount,
        ),
        at=at,
    )
