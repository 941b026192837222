"""gRPC of the order service: checks requests, calls the use case, shapes the answer."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Final

import grpc.aio

from domain.limits import (
    LONGEST_WAIT_SECONDS,
    MAX_CAUSE_ID,
    MAX_FOLLOWED,
    MAX_NOTE,
    MAX_PAGE_SIZE,
    MAX_REASON,
    MAX_SEARCH,
    MAX_SEQ,
)
from domain.money import MAX_AMOUNT
from domain.order_numbers import is_written_as_number
from domain.orders import OrderStatus
from ordersaga.order.v1 import order_pb2 as pb
from ordersaga.order.v1.order_pb2_grpc import OrderServiceServicer, add_OrderServiceServicer_to_server
from runtime.caller import CallerRole, current_caller
from runtime.cursors import encode_cursor
from runtime.identity import Part
from runtime.on_call import on_call_service
from runtime.permissions import READERS, USERS, allow
from runtime.process import Lifecycle
from runtime.protos import to_proto
from runtime.rpc_server import GrpcService, serve
from runtime.settings import Settings
from runtime.validation import Violations
from services.order.attention.server import AttentionRpcs
from services.order.back_end.server import BackEndRpcs
from services.order.bootstrap import OrderComponents, bootstrap
from services.order.checks import check_idempotent, check_new_order, payment_window
from services.order.lists import OrderFilter
from services.order.messages import to_closed, to_filter, to_new_order, to_pending, to_refund_update, to_status

_CLOSED: Final = (OrderStatus.PAID, OrderStatus.FAILED, OrderStatus.CANCELLED)
"""What a saga marks an order as in the end."""

Context = grpc.aio.ServicerContext[Any, Any]


class OrderServicer(AttentionRpcs, BackEndRpcs, OrderServiceServicer):
    """The order service over gRPC."""

    def __init__(self, components: OrderComponents) -> None:
        self._service = components.orders
        self._cancellations = components.cancellations
        self._erasure = components.erasure
        self._moves = components.moves
        self._attention = components.attention
        self._desk = components.desk
        self._repairs_itself = components.repairs_itself
        self._limits = components.customer_limits
        self._guests = components.guests
        self._peers = components.peers
        self._guest_limits = components.guest_limits
        self._longest_window = components.longest_payment_window

    @allow(Part.GATEWAY, *USERS)
    async def CreateOrder(self, request: pb.CreateOrderRequest, context: Context) -> pb.CreateOrderResponse:
        caller = current_caller()
        with Violations() as violations:
            lines = check_new_order(violations, request)
        window = payment_window(request, longest=self._longest_window)
        created = await self._service.create(
            to_new_order(request, user_id=caller.id, lines=lines, payment_window_seconds=window),
            idempotency_key=request.idempotency_key,
            wait=request.wait_ms / 1000,
            limits=self._limits if caller.role is CallerRole.CUSTOMER else None,
        )
        return to_proto(pb.CreateOrderResponse, created)

    @allow(Part.GATEWAY, *READERS)
    @allow(Part.ORDER_WORKER)
    @allow(Part.OPERATOR)
    async def GetOrder(self, request: pb.GetOrderRequest, context: Context) -> pb.GetOrderResponse:
        with Violations() as violations:
            violations.check_order("order_id", request.order_id)
        order = await self._service.get(request.order_id, caller=current_caller())
        return pb.GetOrderResponse(order=to_proto(pb.Order, order))

    @allow(Part.GATEWAY, *READERS)
    async def ListTransitions(self, request: pb.ListTransitionsRequest, context: Context) -> pb.ListTransitionsResponse:
        with Violations() as violations:
            violations.check_order("order_id", request.order_id)
            violations.check_range("after_seq", request.after_seq, smallest=0, largest=MAX_SEQ)
        history = await self._service.list_transitions(
            request.order_id, caller=current_caller(), after=request.after_seq
        )
        return pb.ListTransitionsResponse(
            order_id=history.id,
            transitions=[to_proto(pb.Transition, transition) for transition in history.transitions],
            is_final=history.is_final,
        )

    @allow(Part.GATEWAY)
    async def AwaitMoves(self, request: pb.AwaitMovesRequest, context: Context) -> pb.AwaitMovesResponse:
        known = {position.order_id: position.seq for position in request.known}
        with Violations() as violations:
            violations.check_range("known", len(request.known), smallest=1, largest=MAX_FOLLOWED)
            for order_id, seq in known.items():
                violations.check_id("known.order_id", order_id)
                violations.check_range("known.seq", seq, smallest=0, largest=MAX_SEQ)
            violations.check_range("wait_ms", request.wait_ms, smallest=0, largest=LONGEST_WAIT_SECONDS * 1_000)
        _end_with_call(context)
        moved = await self._moves.await_moves(known, wait=request.wait_ms / 1000)
        return pb.AwaitMovesResponse(
            moved=[pb.OrderPosition(order_id=order_id, seq=seq) for order_id, seq in moved.items()]
        )

    @allow(Part.GATEWAY, *USERS)
    async def ListOrders(self, request: pb.ListOrdersRequest, context: Context) -> pb.ListOrdersResponse:
        caller = current_caller()
        with Violations() as violations:
            violations.check_range("page_size", request.page_size, smallest=1, largest=MAX_PAGE_SIZE)
            wanted = _check_filter(violations, request)
        page = await self._service.list_orders(wanted, caller=caller, page_size=request.page_size)
        return pb.ListOrdersResponse(
            orders=[to_proto(pb.OrderSummary, order) for order in page.orders],
            next_page_token=encode_cursor(page.next_before) if page.next_before else "",
        )

    @allow(Part.GATEWAY, *READERS)
    @allow(Part.OPERATOR)
    async def CancelOrder(self, request: pb.CancelOrderRequest, context: Context) -> pb.CancelOrderResponse:
        caller = current_caller()
        with Violations() as violations:
            violations.check_order("order_id", request.order_id)
            check_idempotent(violations, request)
            violations.check_plain_line("note", request.note, shortest=0, longest=MAX_NOTE)
        cancelled = await self._cancellations.cancel(
            request.order_id,
            caller=caller,
            note=request.note,
            idempotency_key=request.idempotency_key,
            wait=request.wait_ms / 1000,
        )
        return to_proto(pb.CancelOrderResponse, cancelled)

    @allow(Part.USER)
    async def EraseCustomer(self, request: pb.EraseCustomerRequest, context: Context) -> pb.EraseCustomerResponse:
        with Violations() as violations:
            violations.check_id("user_id", request.user_id)
        return to_proto(pb.EraseCustomerResponse, await self._erasure.erase(request.user_id))

    @allow(Part.ORDER_WORKER)
    async def MarkPending(self, request: pb.MarkPendingRequest, context: Context) -> pb.MarkPendingResponse:
        with Violations() as violations:
            _check_cause(violations, request.order_id, request.cause_id)
            violations.check_id("payment_id", request.payment_id)
            violations.check_range("total", request.total, smallest=0, largest=MAX_AMOUNT)
            if not request.HasField("payment_deadline"):
                violations.add("payment_deadline", "must be set")
        return to_proto(pb.MarkPendingResponse, await self._service.mark(*to_pending(request)))

    @allow(Part.ORDER_WORKER)
    async def MarkClosed(self, request: pb.MarkClosedRequest, context: Context) -> pb.MarkClosedResponse:
        with Violations() as violations:
            _check_cause(violations, request.order_id, request.cause_id)
            violations.check_text("reason", request.reason, shortest=0, longest=MAX_REASON)
            if to_status(request.status) not in _CLOSED:
                violations.add("status", f"must be {', '.join(_CLOSED)}")
        return to_proto(pb.MarkClosedResponse, await self._service.mark(to_closed(request)))

    @allow(Part.ORDER_WORKER)
    async def MarkRefunded(self, request: pb.MarkRefundedRequest, context: Context) -> pb.MarkRefundedResponse:
        with Violations() as violations:
            violations.check_id("order_id", request.order_id)
            violations.check_id("refund_id", request.refund_id)
            violations.check_amount("amount", request.amount, smallest=1)
            if request.version < 0:
                violations.add("version", "must not be below zero")
        return to_proto(pb.MarkRefundedResponse, await self._service.mark_refunded(to_refund_update(request)))


def _end_with_call(context: Context) -> None:
    """Have the handler that runs now end when its caller goes away: else it would finish what it began, and wait on."""
    if (handler := asyncio.current_task()) is not None:
        context.add_done_callback(lambda _: handler.cancel())  # type: ignore[arg-type]  # the stubs know no function


def _check_filter(violations: Violations, request: pb.ListOrdersRequest) -> OrderFilter:
    """What is wanted; a number that was mistyped is one that no order has."""
    before = violations.check_page_token("page_token", request.page_token)
    if request.status != pb.ORDER_STATUS_UNSPECIFIED and to_status(request.status) is None:
        violations.add("status", f"must be {', '.join(OrderStatus)}")
    if request.user_id:
        violations.check_id("user_id", request.user_id)
    if request.number and not is_written_as_number(request.number):
        violations.add("number", "must be an order's number, such as 7KQ2-M9XD")
    violations.check_plain_line("search", request.search, shortest=0, longest=MAX_SEARCH)
    violations.check_amount("total_min", request.total_min)
    violations.check_amount("total_max", request.total_max)
    return to_filter(request, before=before)


def _check_cause(violations: Violations, order_id: str, cause_id: str) -> None:
    violations.check_id("order_id", order_id)
    violations.check_text("cause_id", cause_id, longest=MAX_CAUSE_ID)


def grpc_service(components: OrderComponents) -> GrpcService:
    """The service as it is served."""
    descriptor = pb.DESCRIPTOR.services_by_name["OrderService"]
    return GrpcService(descriptor, OrderServicer(components), add_OrderServiceServicer_to_server)


async def run(settings: Settings, lifecycle: Lifecycle) -> None:
    """Serve until the process stops; what is due is worked on beside."""
    async with bootstrap(settings) as components:
        await serve(
            settings,
            lifecycle,
            grpc_service(components),
            on_call=on_call_service(Part.ORDER, components.database, components.on_call),
            checks=components.checks,
            measurements=components.measurements,
            background=(*components.background, partial(components.moves.end_with, lifecycle.stopping)),
        )
