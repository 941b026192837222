"""Order steps, at the order service."""

from __future__ import annotations

from temporalio import activity

from activities.calling import call_service
from domain.orders import PricedLine
from domain.saga import (
    AttentionRequest,
    Marked,
    MarkPendingRequest,
    MarkRefundedRequest,
    MarkRequest,
    Quote,
    Resumption,
)
from ordersaga.order.v1 import order_pb2 as pb
from ordersaga.order.v1.order_pb2_grpc import OrderServiceStub
from runtime.protos import from_proto, to_proto
from workflows.steps import OrderSteps


class OrderActivities(OrderSteps):
    """See `workflows.steps.OrderSteps`."""

    def __init__(self, *, orders: OrderServiceStub) -> None:
        self._orders = orders

    @activity.defn(name="mark_pending")
    async def mark_pending(self, request: MarkPendingRequest) -> Marked:
        message = to_proto(pb.MarkPendingRequest, request)
        response = await call_service(self._orders.MarkPending, message)
        return from_proto(Marked, response)

    @activity.defn(name="mark")
    async def mark(self, request: MarkRequest) -> Marked:
        message = to_proto(pb.MarkClosedRequest, request)
        response = await call_service(self._orders.MarkClosed, message)
        return from_proto(Marked, response, payment_deadline=None)

    @activity.defn(name="mark_refunded")
    async def mark_refunded(self, request: MarkRefundedRequest) -> Marked:
        message = to_proto(pb.MarkRefundedRequest, request)
        response = await call_service(self._orders.MarkRefunded, message)
        return from_proto(Marked, response, payment_deadline=None)

    @activity.defn(name="read_order")
    async def read_order(self, order_id: str) -> Marked:
        return from_proto(Marked, await self._read(order_id))

    @activity.defn(name="resume_order")
    async def resume_order(self, order_id: str) -> Resumption:
        order = await self._read(order_id)
        quote = None
        if order.HasField("total"):
            quote = from_proto(Quote, order, lines=[from_proto(PricedLine, item) for item in order.items])
        return Resumption(order=from_proto(Marked, order), quote=quote)

    @activity.defn(name="attention")
    async def attention(self, request: AttentionRequest) -> None:
        if request.why is None:
            clear = to_proto(pb.ClearAttentionRequest, request)
            await call_service(self._orders.ClearAttention, clear)
        else:
            attention = to_proto(pb.RaiseAttentionRequest, request, cause=request.why)
            await call_service(self._orders.RaiseAttention, attention)

    async def _read(self, order_id: str) -> pb.Order:
        return (await call_service(self._orders.GetOrder, pb.GetOrderRequest(order_id=order_id))).order
