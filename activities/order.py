"""Order steps, at the order service."""

from __future__ import annotations

from datetime import UTC

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio import activity

from activities.calling import call_service
from domain import orders
from domain.saga import (
    AttentionRequest,
    Marked,
    MarkPendingRequest,
    MarkRefundedRequest,
    MarkRequest,
    Quote,
    Resumption,
)
from ordersaga.common.v1.order_line_pb2 import PricedLine
from ordersaga.order.v1 import order_pb2 as pb
from ordersaga.order.v1.order_pb2_grpc import OrderServiceStub
from runtime.order_status import FROM_PROTO, TO_PROTO
from workflows.steps import OrderSteps


class OrderActivities(OrderSteps):
    """See `workflows.steps.OrderSteps`."""

    def __init__(self, *, orders: OrderServiceStub) -> None:
        self._orders = orders

    @activity.defn(name="mark_pending")
    async def mark_pending(self, request: MarkPendingRequest) -> Marked:
        deadline = Timestamp()
        deadline.FromDatetime(request.payment_deadline)
        response = await call_service(
            self._orders.MarkPending,
            pb.MarkPendingRequest(
                order_id=request.order_id,
                cause_id=request.cause_id,
                lines=[
                    PricedLine(product_id=line.product_id, quantity=line.quantity, unit_price=line.unit_price)
                    for line in request.lines
                ],
                total=request.total,
                payment_id=request.payment_id,
                payment_deadline=deadline,
            ),
        )
        stored = response.payment_deadline.ToDatetime(tzinfo=UTC) if response.HasField("payment_deadline") else None
        return Marked(status=FROM_PROTO[response.status], reason=response.reason or None, payment_deadline=stored)

    @activity.defn(name="mark")
    async def mark(self, request: MarkRequest) -> Marked:
        response = await call_service(
            self._orders.MarkClosed,
            pb.MarkClosedRequest(
                order_id=request.order_id,
                cause_id=request.cause_id,
                status=TO_PROTO[request.status],
                reason=request.reason or "",
            ),
        )
        return Marked(status=FROM_PROTO[response.status], reason=response.reason or None, payment_deadline=None)

    @activity.defn(name="mark_refunded")
    async def mark_refunded(self, request: MarkRefundedRequest) -> Marked:
        response = await call_service(
            self._orders.MarkRefunded,
            pb.MarkRefundedRequest(
                order_id=request.order_id,
                refund_id=request.refund_id,
                amount=request.amount,
                succeeded=request.succeeded,
                version=request.version,
            ),
        )
        return Marked(status=FROM_PROTO[response.status], reason=response.reason or None, payment_deadline=None)

    @activity.defn(name="read_order")
    async def read_order(self, order_id: str) -> Marked:
        return _to_marked(await self._read(order_id))

    @activity.defn(name="resume_order")
    async def resume_order(self, order_id: str) -> Resumption:
        order = await self._read(order_id)
        if not order.HasField("total"):
            return Resumption(order=_to_marked(order), quote=None)
        lines = [
            orders.PricedLine(product_id=item.product_id, quantity=item.quantity, unit_price=item.unit_price)
            for item in order.items
        ]
        return Resumption(order=_to_marked(order), quote=Quote(lines=lines, total=order.total, currency=order.currency))

    @activity.defn(name="attention")
    async def attention(self, request: AttentionRequest) -> None:
        if request.why is None:
            await call_service(
                self._orders.ClearAttention,
                pb.ClearAttentionRequest(order_id=request.order_id, step=request.step),
            )
        else:
            await call_service(
                self._orders.RaiseAttention,
                pb.RaiseAttentionRequest(order_id=request.order_id, step=request.step, why=request.why),
            )

    async def _read(self, order_id: str) -> pb.Order:
        return (await call_service(self._orders.GetOrder, pb.GetOrderRequest(order_id=order_id))).order


def _to_marked(order: pb.Order) -> Marked:
    deadline = order.payment_deadline.ToDatetime(tzinfo=UTC) if order.HasField("payment_deadline") else None
    return Marked(status=FROM_PROTO[order.status], reason=order.reason or None, payment_deadline=deadline)
