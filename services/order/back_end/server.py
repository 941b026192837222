"""gRPC of the shop's back end, which places orders for its customers: checks requests, calls the use case."""

from __future__ import annotations

from typing import Any

import grpc.aio

from domain.ids import new_id
from domain.limits import MIN_GUEST_KEY
from ordersaga.order.v1 import order_pb2 as pb
from runtime.caller import CallerRole
from runtime.identity import Part
from runtime.permissions import allow
from runtime.protos import to_proto
from runtime.refusal import InvalidArgument
from runtime.validation import Violations
from services.order.checks import check_adjustments, check_guest, check_new_order, payment_window
from services.order.customer_limits import CustomerLimits
from services.order.guests.server import GuestRpcs
from services.order.messages import to_new_order
from services.order.model import Guest
from services.order.peers import Peers

Context = grpc.aio.ServicerContext[Any, Any]


class BackEndRpcs(GuestRpcs):
    """Orders that are placed for somebody, with shipping and discounts; the limits are the customer's."""

    _peers: Peers
    _limits: CustomerLimits

    @allow(Part.GATEWAY, CallerRole.ADMIN)
    async def CreateOrderOnBehalf(
        self, request: pb.CreateOrderOnBehalfRequest, context: Context
    ) -> pb.CreateOrderOnBehalfResponse:
        is_guest = request.HasField("guest")
        with Violations() as violations:
            lines = check_new_order(violations, request.order, shortest_key=MIN_GUEST_KEY if is_guest else 1)
            check_adjustments(violations, request.adjustments)
            if is_guest:
                check_guest(violations, email=request.guest.email, name=request.guest.name)
            else:
                violations.check_id("customer", request.user_id)
        window = payment_window(request.order, longest=self._longest_window)
        if is_guest:
            limits, user_id = self._require_guests(), new_id()
        else:
            limits, user_id = self._limits, request.user_id
            await self._require_account(user_id)
        created = await self._service.create(
            to_new_order(
                request.order,
                user_id=user_id,
                lines=lines,
                payment_window_seconds=window,
                guest=Guest(email=request.guest.email, name=request.guest.name) if is_guest else None,
                on_behalf=request,
            ),
            idempotency_key=request.order.idempotency_key,
            wait=request.order.wait_ms / 1000,
            limits=limits,
        )
        return to_proto(pb.CreateOrderOnBehalfResponse, created, **await self._find_token(created.order))

    async def _require_account(self, user_id: str) -> None:
        """See that somebody can log in to read the order, and to pay it.

        Raises:
            InvalidArgument: nobody can.
            ServiceUnavailable: the user service is away.
        """
        fault = await self._peers.find_account_fault(user_id)
        if fault is not None:
            raise InvalidArgument.of({"customer": fault})
