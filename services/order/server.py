"""gRPC of the order service: checks requests, calls the use case, shapes the answer."""

from __future__ import annotations

from typing import Any, Final

import grpc.aio

from domain.money import MAX_AMOUNT
from domain.orders import MAX_PAYMENT_WINDOW_SECONDS, OrderStatus
from ordersaga.order.v1 import order_pb2 as pb
from ordersaga.order.v1.order_pb2_grpc import OrderServiceServicer, add_OrderServiceServicer_to_server
from runtime.caller import CallerRole, current_caller
from runtime.cursors import encode_cursor
from runtime.process import Lifecycle
from runtime.rpc_server import serve
from runtime.settings import Settings
from runtime.validation import Violations
from services.order.bootstrap import OrderComponents, bootstrap
from services.order.messages import (
    status_from_proto,
    status_to_proto,
    summary_to_proto,
    to_order,
    to_pricing,
    to_proto,
    to_refund_news,
)
from services.order.model import Mark, OrderState

SERVICE_NAME = "ordersaga.order.v1.OrderService"
LONGEST_WAIT_MS: Final = 30_000

Context = grpc.aio.ServicerContext[Any, Any]


class OrderServicer(OrderServiceServicer):
    """The order service over gRPC."""

    def __init__(self, components: OrderComponents) -> None:
        self._service = components.orders
        self._cancellations = components.cancellations

    async def CreateOrder(self, request: pb.CreateOrderRequest, context: Context) -> pb.CreateOrderResponse:
        caller = current_caller()
        caller.require(CallerRole.CUSTOMER, CallerRole.ADMIN)
        with Violations() as violations:
            lines = violations.check_lines("lines", request.lines)
            violations.check_text("idempotency_key", request.idempotency_key, longest=255)
            violations.check_currency("currency", request.currency)
            violations.check_text("payment_method", request.payment_method, shortest=0, longest=255)
            violations.check_amount("expected_total", request.expected_total)
            violations.check_range(
                "payment_window_seconds",
                request.payment_window_seconds,
                smallest=1,
                largest=MAX_PAYMENT_WINDOW_SECONDS,
            )
            violations.check_range("wait_ms", request.wait_ms, smallest=0, largest=LONGEST_WAIT_MS)
            _check_address(violations, request.shipping_address)
        created = await self._service.create(
            to_order(request, user_id=caller.id, lines=lines),
            idempotency_key=request.idempotency_key,
            wait=request.wait_ms / 1000,
        )
        return pb.CreateOrderResponse(
            order=to_proto(created.order), accepted_only=created.accepted_only, replayed=created.replayed
        )

    async def GetOrder(self, request: pb.GetOrderRequest, context: Context) -> pb.GetOrderResponse:
        with Violations() as violations:
            violations.check_id("order_id", request.order_id)
        order = await self._service.get(request.order_id, caller=current_caller())
        return pb.GetOrderResponse(order=to_proto(order))

    async def ListOrders(self, request: pb.ListOrdersRequest, context: Context) -> pb.ListOrdersResponse:
        caller = current_caller()
        caller.require(CallerRole.CUSTOMER, CallerRole.ADMIN)
        status = status_from_proto(request.status)
        with Violations() as violations:
            violations.check_range("page_size", request.page_size, smallest=1, largest=100)
            before = violations.check_page_token("page_token", request.page_token)
            if status is None and request.status != pb.ORDER_STATUS_UNSPECIFIED:
                violations.add("status", f"must be {', '.join(OrderStatus)}")
        page = await self._service.list_orders(caller=caller, status=status, before=before, page_size=request.page_size)
        return pb.ListOrdersResponse(
            orders=[summary_to_proto(order) for order in page.orders],
            next_page_token=encode_cursor(page.orders[-1].id) if page.has_more else "",
        )

    async def CancelOrder(self, request: pb.CancelOrderRequest, context: Context) -> pb.CancelOrderResponse:
        caller = current_caller()
        caller.require(CallerRole.CUSTOMER, CallerRole.ADMIN)
        with Violations() as violations:
            violations.check_id("order_id", request.order_id)
            violations.check_text("idempotency_key", request.idempotency_key, longest=255)
            violations.check_text("why", request.why, shortest=0, longest=500)
            violations.check_range("wait_ms", request.wait_ms, smallest=0, largest=LONGEST_WAIT_MS)
        cancelled = await self._cancellations.cancel(
            request.order_id,
            caller=caller,
            why=request.why,
            idempotency_key=request.idempotency_key,
            wait=request.wait_ms / 1000,
        )
        return pb.CancelOrderResponse(
            order=to_proto(cancelled.order), accepted_only=cancelled.accepted_only, replayed=cancelled.replayed
        )

    async def MarkPending(self, request: pb.MarkPendingRequest, context: Context) -> pb.MarkPendingResponse:
        current_caller().require(CallerRole.SERVICE)
        with Violations() as violations:
            _check_cause(violations, request.order_id, request.cause_id)
            violations.check_id("payment_id", request.payment_id)
            violations.check_range("total", request.total, smallest=0, largest=MAX_AMOUNT)
            if not request.HasField("payment_deadline"):
                violations.add("payment_deadline", "must be set")
        mark = Mark(order_id=request.order_id, cause_id=request.cause_id, to_status=OrderStatus.PENDING)
        state = await self._service.mark(mark, to_pricing(request))
        response = pb.MarkPendingResponse(status=status_to_proto(state.status), reason=state.reason or "")
        if state.payment_deadline is not None:
            response.payment_deadline.FromDatetime(state.payment_deadline)
        return response

    async def MarkClosed(self, request: pb.MarkClosedRequest, context: Context) -> pb.MarkClosedResponse:
        current_caller().require(CallerRole.SERVICE)
        closed = (OrderStatus.PAID, OrderStatus.FAILED, OrderStatus.CANCELLED)
        statuses = {status_to_proto(status): status for status in closed}
        with Violations() as violations:
            _check_cause(violations, request.order_id, request.cause_id)
            violations.check_text("reason", request.reason, shortest=0, longest=100)
            if request.status not in statuses:
                violations.add("status", f"must be {', '.join(closed)}")
        mark = Mark(
            order_id=request.order_id,
            cause_id=request.cause_id,
            to_status=statuses[request.status],
            reason=request.reason or None,
        )
        state: OrderState = await self._service.mark(mark)
        return pb.MarkClosedResponse(status=status_to_proto(state.status), reason=state.reason or "")

    async def MarkRefunded(self, request: pb.MarkRefundedRequest, context: Context) -> pb.MarkRefundedResponse:
        current_caller().require(CallerRole.SERVICE)
        with Violations() as violations:
            violations.check_id("order_id", request.order_id)
            violations.check_id("refund_id", request.refund_id)
            violations.check_amount("amount", request.amount, smallest=1)
            if request.version < 0:
                violations.add("version", "must not be below zero")
        state = await self._service.mark_refunded(to_refund_news(request))
        return pb.MarkRefundedResponse(status=status_to_proto(state.status), reason=state.reason or "")

    async def RaiseAttention(self, request: pb.RaiseAttentionRequest, context: Context) -> pb.RaiseAttentionResponse:
        current_caller().require(CallerRole.SERVICE)
        with Violations() as violations:
            violations.check_id("order_id", request.order_id)
            violations.check_text("step", request.step, longest=100)
            violations.check_text("why", request.why, longest=2_000)
        await self._service.raise_attention(order_id=request.order_id, step=request.step, why=request.why)
        return pb.RaiseAttentionResponse()

    async def ClearAttention(self, request: pb.ClearAttentionRequest, context: Context) -> pb.ClearAttentionResponse:
        current_caller().require(CallerRole.SERVICE)
        with Violations() as violations:
            violations.check_id("order_id", request.order_id)
            violations.check_text("step", request.step, longest=100)
        await self._service.clear_attention(order_id=request.order_id, step=request.step)
        return pb.ClearAttentionResponse()


def _check_cause(violations: Violations, order_id: str, cause_id: str) -> None:
    violations.check_id("order_id", order_id)
    violations.check_text("cause_id", cause_id, longest=200)


def _check_address(violations: Violations, address: pb.Address) -> None:
    field = "shipping_address"
    violations.check_text(f"{field}.name", address.name, longest=200)
    violations.check_text(f"{field}.line1", address.line1, longest=200)
    violations.check_text(f"{field}.line2", address.line2, shortest=0, longest=200)
    violations.check_text(f"{field}.city", address.city, longest=100)
    violations.check_text(f"{field}.postal_code", address.postal_code, longest=20)
    if not (len(address.country) == 2 and address.country.isascii() and address.country.isupper()):
        violations.add(f"{field}.country", "must be an ISO 3166-1 alpha-2 code in capitals, for example DE")


async def run(settings: Settings, lifecycle: Lifecycle) -> None:
    """Serve until the process stops; the sweeps run beside."""
    async with bootstrap(settings) as components:
        servicer = OrderServicer(components)
        await serve(
            settings,
            lifecycle,
            address=settings.order_address,
            services=(SERVICE_NAME,),
            add=lambda server: add_OrderServiceServicer_to_server(servicer, server),
            background=components.background,
        )
