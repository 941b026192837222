"""gRPC of guests: checks requests, calls the use case, shapes the answer."""

from __future__ import annotations

from typing import Any

import grpc.aio

from domain.emails import MAX_EMAIL
from domain.ids import new_id
from domain.limits import MIN_GUEST_KEY
from domain.order_numbers import is_written_as_number
from ordersaga.order.v1 import order_pb2 as pb
from runtime.caller import CallerRole, current_caller
from runtime.identity import Part
from runtime.permissions import STAFF, allow
from runtime.protos import to_proto, to_timestamp
from runtime.validation import Violations
from services.order.checks import check_guest, check_new_order, payment_window
from services.order.customer_limits import CustomerLimits
from services.order.erasure import Erasure
from services.order.errors import GuestCheckoutOff
from services.order.guests.model import GuestLinkRequest
from services.order.guests.service import Guests
from services.order.messages import to_new_order
from services.order.model import Guest, Order
from services.order.service import OrderService

Context = grpc.aio.ServicerContext[Any, Any]


class GuestRpcs:
    """The methods about people without an account."""

    _service: OrderService
    _guests: Guests
    _erasure: Erasure
    _guest_limits: CustomerLimits | None
    """None where there are no guests."""
    _longest_window: int

    @allow(Part.GATEWAY)
    async def CreateGuestOrder(
        self, request: pb.CreateGuestOrderRequest, context: Context
    ) -> pb.CreateGuestOrderResponse:
        limits = self._require_guests()
        with Violations() as violations:
            lines = check_new_order(violations, request.order, shortest_key=MIN_GUEST_KEY)
            check_guest(violations, email=request.email, name=request.name)
        window = payment_window(request.order, longest=self._longest_window)
        created = await self._service.create(
            to_new_order(
                request.order,
                user_id=new_id(),
                lines=lines,
                payment_window_seconds=window,
                guest=Guest(email=request.email, name=request.name),
            ),
            idempotency_key=request.order.idempotency_key,
            wait=request.order.wait_ms / 1000,
            limits=limits,
        )
        return to_proto(pb.CreateGuestOrderResponse, created, **await self._find_token(created.order))

    @allow(Part.GATEWAY)
    async def RequestGuestLink(
        self, request: pb.RequestGuestLinkRequest, context: Context
    ) -> pb.RequestGuestLinkResponse:
        with Violations() as violations:
            violations.check_text("email", request.email, longest=MAX_EMAIL)
            if not is_written_as_number(request.order_number):
                violations.add("order_number", "must be an order's number, such as 7KQ2-M9XD")
        await self._guests.request_link(GuestLinkRequest(order_number=request.order_number, email=request.email))
        return pb.RequestGuestLinkResponse()

    @allow(Part.NOTIFICATION)
    async def GetGuest(self, request: pb.GetGuestRequest, context: Context) -> pb.GetGuestResponse:
        with Violations() as violations:
            violations.check_id("order_id", request.order_id)
        return to_proto(pb.GetGuestResponse, await self._guests.describe(request.order_id))

    @allow(Part.USER)
    async def AdoptGuestOrders(
        self, request: pb.AdoptGuestOrdersRequest, context: Context
    ) -> pb.AdoptGuestOrdersResponse:
        with Violations() as violations:
            violations.check_text("email", request.email, longest=MAX_EMAIL)
        await self._guests.adopt_orders(request.email)
        return pb.AdoptGuestOrdersResponse()

    @allow(Part.GATEWAY, CallerRole.GUEST, *STAFF)
    async def EraseGuest(self, request: pb.EraseGuestRequest, context: Context) -> pb.EraseGuestResponse:
        caller = current_caller()
        with Violations() as violations:
            violations.check_order("order_id", request.order_id)
        order = await self._service.get(request.order_id, caller=caller)
        await self._erasure.erase_guest(order.id, actor=caller.actor)
        return pb.EraseGuestResponse()

    async def _find_token(self, order: Order) -> dict[str, object]:
        """The fields of an answer that have the guest's token; none where they get none."""
        token = await self._guests.find_token(order) if order.guest_email else None
        return {} if token is None else {"token": token.text, "token_expires_at": to_timestamp(token.expires_at)}

    def _require_guests(self) -> CustomerLimits:
        """What a guest may have unpaid.

        Raises:
            GuestCheckoutOff: there are no guests.
        """
        if self._guest_limits is None:
            raise GuestCheckoutOff
        return self._guest_limits
