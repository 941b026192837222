"""gRPC of guests: for the order service alone, which knows whose orders they are."""

from __future__ import annotations

from typing import Any

import grpc.aio

from domain.emails import MAX_EMAIL
from domain.orders import GUEST_TOKEN_SECONDS
from ordersaga.user.v1 import user_pb2 as pb
from runtime.identity import Part
from runtime.permissions import allow
from runtime.protos import to_timestamp
from runtime.validation import Violations
from services.user.guests.service import Guests

Context = grpc.aio.ServicerContext[Any, Any]


class GuestRpcs:
    """The methods about people without an account."""

    _guests: Guests

    @allow(Part.ORDER)
    async def IssueGuestToken(self, request: pb.IssueGuestTokenRequest, context: Context) -> pb.IssueGuestTokenResponse:
        with Violations() as violations:
            violations.check_id("order_id", request.order_id)
            violations.check_id("guest_id", request.guest_id)
            violations.check_range("seconds", request.seconds, smallest=1, largest=GUEST_TOKEN_SECONDS)
        token = self._guests.issue_token(order_id=request.order_id, guest_id=request.guest_id, seconds=request.seconds)
        return pb.IssueGuestTokenResponse(token=token.text, expires_at=to_timestamp(token.expires_at))

    @allow(Part.ORDER)
    async def FindConfirmedUser(
        self, request: pb.FindConfirmedUserRequest, context: Context
    ) -> pb.FindConfirmedUserResponse:
        with Violations() as violations:
            violations.check_text("email", request.email, longest=MAX_EMAIL)
        return pb.FindConfirmedUserResponse(user_id=await self._guests.find_confirmed_user(request.email) or "")
