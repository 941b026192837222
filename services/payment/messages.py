"""Between protobuf messages and what the payment service speaks of."""

from __future__ import annotations

from ordersaga.common.v1.order_line_pb2 import OrderLine
from ordersaga.payment.v1 import payment_pb2 as pb
from services.payment.model import Dispute, Payment, Refund


def payment_to_proto(payment: Payment) -> pb.Payment:
    """With the currency that came in, once money did, so that its amount is never read in another one."""
    return pb.Payment(
        id=payment.id,
        order_id=payment.order_id,
        status=pb.PaymentStatus.Value(f"PAYMENT_STATUS_{payment.status.value}"),
        amount=payment.amount,
        currency=payment.money,
        amount_received=payment.amount_received,
        amount_refunded=payment.amount_refunded,
        failed_attempts=payment.failed_attempts,
        disputes=[dispute_to_proto(payment, dispute) for dispute in payment.disputes],
    )


def refund_to_proto(payment: Payment, refund: Refund) -> pb.Refund:
    """A refund of the payment on the wire."""
    message = pb.Refund(
        id=refund.id,
        order_id=payment.order_id,
        payment_id=payment.id,
        status=pb.RefundStatus.Value(f"REFUND_STATUS_{refund.status.value}"),
        origin=pb.RefundOrigin.Value(f"REFUND_ORIGIN_{refund.origin.value}"),
        amount=refund.amount,
        currency=refund.currency,
        failure_reason=refund.failure_reason or "",
        restock=[OrderLine(product_id=line.product_id, quantity=line.quantity) for line in refund.restock],
        restock_id=refund.restock_id,
        version=refund.version,
        why=refund.why,
    )
    message.created_at.FromDatetime(refund.created_at)
    return message


def dispute_to_proto(payment: Payment, dispute: Dispute) -> pb.Dispute:
    """A dispute of the payment on the wire."""
    message = pb.Dispute(
        id=dispute.id,
        order_id=payment.order_id,
        status=pb.DisputeStatus.Value(f"DISPUTE_STATUS_{dispute.status.value}"),
        reason=dispute.reason,
        amount=dispute.amount,
        currency=dispute.currency,
        withdrawn=dispute.withdrawn,
        version=dispute.version,
    )
    if dispute.respond_by is not None:
        message.respond_by.FromDatetime(dispute.respond_by)
    return message
