"""Between protobuf messages and refunds."""

from __future__ import annotations

from ordersaga.payment.v1 import payment_pb2 as pb
from runtime.protos import to_proto
from services.payment.payments.model import Payment, Refund
from services.payment.refunds.model import RefundApproval


def refund_to_proto(payment: Payment, refund: Refund) -> pb.Refund:
    """A refund of the payment on the wire."""
    return to_proto(pb.Refund, refund, order_id=payment.order_id, payment_id=payment.id)


def approval_to_proto(payment: Payment, approval: RefundApproval) -> pb.RefundApproval:
    """An approval of a refund of the payment on the wire."""
    return to_proto(pb.RefundApproval, approval, order_id=payment.order_id, currency=payment.settled_currency)
