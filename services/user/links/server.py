"""gRPC of links, and of what else changes an address or a password."""

from __future__ import annotations

from typing import Any

import grpc.aio

from domain.emails import MAX_EMAIL
from domain.limits import MAX_LINK_TOKEN, MAX_PASSWORD
from ordersaga.user.v1 import user_pb2 as pb
from runtime.caller import current_caller
from runtime.identity import Part
from runtime.permissions import USERS, allow
from runtime.protos import to_proto
from runtime.validation import Violations
from services.user.checks import check_password
from services.user.links.service import AccountLinks

Context = grpc.aio.ServicerContext[Any, Any]


class LinkRpcs:
    """The methods about links, addresses and passwords."""

    _links: AccountLinks

    @allow(Part.GATEWAY, *USERS)
    async def RequestConfirmation(
        self, request: pb.RequestConfirmationRequest, context: Context
    ) -> pb.RequestConfirmationResponse:
        await self._links.request_confirmation(current_caller().id)
        return pb.RequestConfirmationResponse()

    @allow(Part.GATEWAY)
    async def ConfirmEmail(self, request: pb.ConfirmEmailRequest, context: Context) -> pb.ConfirmEmailResponse:
        with Violations() as violations:
            violations.check_text("token", request.token, longest=MAX_LINK_TOKEN)
        await self._links.confirm(request.token)
        return pb.ConfirmEmailResponse()

    @allow(Part.GATEWAY)
    async def RequestPasswordReset(
        self, request: pb.RequestPasswordResetRequest, context: Context
    ) -> pb.RequestPasswordResetResponse:
        with Violations() as violations:
            violations.check_text("email", request.email, longest=MAX_EMAIL)
        await self._links.request_reset(request.email)
        return pb.RequestPasswordResetResponse()

    @allow(Part.GATEWAY)
    async def ResetPassword(self, request: pb.ResetPasswordRequest, context: Context) -> pb.ResetPasswordResponse:
        with Violations() as violations:
            violations.check_text("token", request.token, longest=MAX_LINK_TOKEN)
            check_password(violations, "password", request.password)
        await self._links.reset_password(request.token, request.password)
        return pb.ResetPasswordResponse()

    @allow(Part.GATEWAY, *USERS)
    async def ChangePassword(self, request: pb.ChangePasswordRequest, context: Context) -> pb.ChangePasswordResponse:
        caller = current_caller()
        with Violations() as violations:
            violations.check_text("current_password", request.current_password, longest=MAX_PASSWORD)
            check_password(violations, "password", request.password)
        await self._links.change_password(
            caller.id, current=request.current_password, new=request.password, session=caller.session
        )
        return pb.ChangePasswordResponse()

    @allow(Part.GATEWAY, *USERS)
    async def ChangeEmail(self, request: pb.ChangeEmailRequest, context: Context) -> pb.ChangeEmailResponse:
        with Violations() as violations:
            violations.check_text("current_password", request.current_password, longest=MAX_PASSWORD)
            violations.check_email("email", request.email)
        await self._links.change_email(current_caller().id, password=request.current_password, email=request.email)
        return pb.ChangeEmailResponse()

    @allow(Part.NOTIFICATION)
    async def IssueLink(self, request: pb.IssueLinkRequest, context: Context) -> pb.IssueLinkResponse:
        with Violations() as violations:
            violations.check_id("link_id", request.link_id)
        return to_proto(pb.IssueLinkResponse, await self._links.issue(request.link_id))

    @allow(Part.NOTIFICATION)
    async def GetReplacedEmail(
        self, request: pb.GetReplacedEmailRequest, context: Context
    ) -> pb.GetReplacedEmailResponse:
        with Violations() as violations:
            violations.check_id("link_id", request.link_id)
        return to_proto(pb.GetReplacedEmailResponse, await self._links.get_replaced_email(request.link_id))
