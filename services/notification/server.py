"""The notification service: consumes order events, takes messages over gRPC, sends what is due."""

from __future__ import annotations

from typing import Any

import grpc.aio

from domain.emails import MAX_EMAIL, is_email
from domain.limits import MAX_ACTION_NOTE
from domain.notifications import (
    MAX_BODY,
    MAX_SMS,
    MAX_SUBJECT,
    is_one_line,
    is_phone,
)
from ordersaga.notification.v1 import notification_pb2 as pb
from ordersaga.notification.v1.notification_pb2_grpc import (
    NotificationServiceServicer,
    add_NotificationServiceServicer_to_server,
)
from runtime.caller import CallerRole
from runtime.identity import Part
from runtime.on_call import on_call_service
from runtime.permissions import allow
from runtime.process import Lifecycle
from runtime.rpc_server import GrpcService, serve
from runtime.settings import Settings
from runtime.validation import Violations
from services.notification.bootstrap import NotificationComponents, bootstrap
from services.notification.messages import to_mail, to_notification, to_sms
from services.notification.model import WrittenMessage

Context = grpc.aio.ServicerContext[Any, Any]


class NotificationServicer(NotificationServiceServicer):
    """The notification service over gRPC."""

    def __init__(self, components: NotificationComponents) -> None:
        self._service = components.notifications
        self._sender = components.sender
        self._desk = components.desk

    @allow(Part.GATEWAY, CallerRole.ADMIN)
    async def SendEmail(self, request: pb.SendEmailRequest, context: Context) -> pb.SendEmailResponse:
        with Violations() as violations:
            _check_ids(violations, request)
            if request.to and not is_email(request.to):
                violations.add("to", f"must be an e-mail address of at most {MAX_EMAIL} characters")
            _check_written(violations, "subject", request.subject, longest=MAX_SUBJECT)
            if not is_one_line(request.subject):
                violations.add("subject", "must be one line")
            _check_written(violations, "body", request.body, longest=MAX_BODY)
        return pb.SendEmailResponse(notification=await self._queue(request.notification_id, to_mail(request)))

    @allow(Part.GATEWAY, CallerRole.ADMIN)
    async def SendSms(self, request: pb.SendSmsRequest, context: Context) -> pb.SendSmsResponse:
        with Violations() as violations:
            _check_ids(violations, request)
            if not is_phone(request.phone):
                violations.add("phone", "must be a telephone number in E.164 form, for example +15005550006")
            _check_written(violations, "message", request.message, longest=MAX_SMS)
        return pb.SendSmsResponse(notification=await self._queue(request.notification_id, to_sms(request)))

    @allow(Part.ORDER)
    async def RetryNotification(
        self, request: pb.RetryNotificationRequest, context: Context
    ) -> pb.RetryNotificationResponse:
        with Violations() as violations:
            violations.check_id("notification_id", request.notification_id)
        retried = await self._desk.retry(request.notification_id)
        return pb.RetryNotificationResponse(done=retried.done, outcome=retried.outcome)

    @allow(Part.ORDER)
    async def DismissNotification(
        self, request: pb.DismissNotificationRequest, context: Context
    ) -> pb.DismissNotificationResponse:
        with Violations() as violations:
            violations.check_id("notification_id", request.notification_id)
            violations.check_text("note", request.note, longest=MAX_ACTION_NOTE)
        await self._desk.dismiss(request.notification_id, note=request.note)
        return pb.DismissNotificationResponse()

    async def _queue(self, notification_id: str, message: WrittenMessage) -> pb.Notification:
        status = await self._service.queue(notification_id, message)
        self._sender.wake()
        return to_notification(notification_id, message, status)


def _check_ids(violations: Violations, request: pb.SendEmailRequest | pb.SendSmsRequest) -> None:
    violations.check_id("notification_id", request.notification_id)
    violations.check_id("user_id", request.user_id)


def _check_written(violations: Violations, field: str, text: str, *, longest: int) -> None:
    violations.check_text(field, text, longest=longest)
    if text.isspace():
        violations.add(field, "must not be blank")


def grpc_service(components: NotificationComponents) -> GrpcService:
    """The service as it is served."""
    return GrpcService(
        pb.DESCRIPTOR.services_by_name["NotificationService"],
        NotificationServicer(components),
        add_NotificationServiceServicer_to_server,
    )


async def run(settings: Settings, lifecycle: Lifecycle) -> None:
    """Serve until the process stops. Neither broker, SMTP relay nor Twilio needs to be there for it to be ready.

    Raises:
        SettingsError: there is no database, or the Twilio account lacks its token or sender.
    """
    async with bootstrap(settings) as components:
        await serve(
            settings,
            lifecycle,
            grpc_service(components),
            on_call=on_call_service(Part.NOTIFICATION, components.database, components.on_call),
            checks=components.checks,
            measurements=components.measurements,
            background=components.background,
        )
