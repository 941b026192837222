"""The notification service: consumes order events, takes messages over gRPC, sends what is due."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import grpc.aio

from domain.emails import MAX_EMAIL, is_email
from domain.limits import MAX_ACTION_NOTE, MAX_NOTE, MAX_PAGE_SIZE
from domain.notifications import (
    MAX_BODY,
    MAX_SMS,
    MAX_SUBJECT,
    is_phone,
)
from ordersaga.notification.v1 import dead_letters_pb2 as dl
from ordersaga.notification.v1 import notification_pb2 as pb
from ordersaga.notification.v1.notification_pb2_grpc import (
    NotificationServiceServicer,
    add_NotificationServiceServicer_to_server,
)
from runtime.caller import CallerRole, current_caller
from runtime.cursors import encode_cursor
from runtime.identity import Part
from runtime.on_call import on_call_service
from runtime.permissions import allow
from runtime.process import Lifecycle
from runtime.rpc_server import GrpcService, serve
from runtime.settings import Settings
from runtime.validation import Violations
from services.notification.bootstrap import NotificationComponents, bootstrap
from services.notification.messages import (
    to_dead_letter,
    to_guest_order,
    to_listed,
    to_mail,
    to_notification,
    to_place,
    to_sms,
)
from services.notification.model import WrittenMessage

_MAX_ORDER_NUMBER: Final = 20
"""Ours have 9 characters."""
_MAX_TOPIC: Final = 249
"""Kafka's own limit."""

Context = grpc.aio.ServicerContext[Any, Any]


class NotificationServicer(NotificationServiceServicer):
    """The notification service over gRPC."""

    def __init__(self, components: NotificationComponents) -> None:
        self._service = components.notifications
        self._sender = components.sender
        self._dead_letters = components.dead_letters
        self._desk = components.desk

    @allow(Part.GATEWAY, CallerRole.ADMIN)
    async def SendEmail(self, request: pb.SendEmailRequest, context: Context) -> pb.SendEmailResponse:
        with Violations() as violations:
            _check_ids(violations, request)
            if request.to and not is_email(request.to):
                violations.add("to", f"must be an e-mail address of at most {MAX_EMAIL} characters")
            violations.check_plain_line("subject", request.subject, longest=MAX_SUBJECT)
            violations.check_plain_lines("body", request.body, longest=MAX_BODY)
        return pb.SendEmailResponse(notification=await self._queue(request.notification_id, to_mail(request)))

    @allow(Part.GATEWAY, CallerRole.ADMIN)
    async def SendSms(self, request: pb.SendSmsRequest, context: Context) -> pb.SendSmsResponse:
        with Violations() as violations:
            _check_ids(violations, request)
            if not is_phone(request.phone):
                violations.add("phone", "must be a telephone number in E.164 form, for example +15005550006")
            violations.check_plain_lines("message", request.message, longest=MAX_SMS)
        return pb.SendSmsResponse(notification=await self._queue(request.notification_id, to_sms(request)))

    @allow(Part.OPERATOR)
    async def ListDeadLetters(self, request: dl.ListDeadLettersRequest, context: Context) -> dl.ListDeadLettersResponse:
        with Violations() as violations:
            violations.check_range("page_size", request.page_size, smallest=1, largest=MAX_PAGE_SIZE)
            after = violations.check_page_token("page_token", request.page_token)
        page = await self._dead_letters.list(closed_too=request.closed_too, after=after, page_size=request.page_size)
        return dl.ListDeadLettersResponse(
            dead_letters=[to_listed(letter) for letter in page.letters],
            next_page_token=encode_cursor(page.letters[-1].id) if page.has_more else "",
            open=page.open,
        )

    @allow(Part.OPERATOR)
    async def GetDeadLetter(self, request: dl.GetDeadLetterRequest, context: Context) -> dl.GetDeadLetterResponse:
        with Violations() as violations:
            _check_place(violations, request.place)
        return dl.GetDeadLetterResponse(
            dead_letter=to_dead_letter(await self._dead_letters.get(to_place(request.place)))
        )

    @allow(Part.OPERATOR)
    async def RetryDeadLetter(self, request: dl.RetryDeadLetterRequest, context: Context) -> dl.RetryDeadLetterResponse:
        _check_action(request)
        letter, acted = await self._dead_letters.retry(
            to_place(request.place), actor=current_caller().actor, note=request.note
        )
        return dl.RetryDeadLetterResponse(dead_letter=to_dead_letter(letter), acted=acted)

    @allow(Part.OPERATOR)
    async def ResolveDeadLetter(
        self, request: dl.ResolveDeadLetterRequest, context: Context
    ) -> dl.ResolveDeadLetterResponse:
        _check_action(request)
        letter, acted = await self._dead_letters.resolve(
            to_place(request.place), actor=current_caller().actor, note=request.note
        )
        return dl.ResolveDeadLetterResponse(dead_letter=to_dead_letter(letter), acted=acted)

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
            violations.check_plain_line("note", request.note, longest=MAX_ACTION_NOTE)
        await self._desk.dismiss(request.notification_id, note=request.note)
        return pb.DismissNotificationResponse()

    @allow(Part.ORDER)
    async def SendGuestLink(self, request: pb.SendGuestLinkRequest, context: Context) -> pb.SendGuestLinkResponse:
        with Violations() as violations:
            violations.check_id("request_id", request.request_id)
            violations.check_id("order_id", request.order_id)
            violations.check_id("user_id", request.user_id)
            violations.check_text("order_number", request.order_number, longest=_MAX_ORDER_NUMBER)
        await self._service.send_guest_link(request.request_id, to_guest_order(request, at=datetime.now(UTC)))
        self._sender.wake()
        return pb.SendGuestLinkResponse()

    @allow(Part.USER)
    async def EraseUser(self, request: pb.EraseUserRequest, context: Context) -> pb.EraseUserResponse:
        with Violations() as violations:
            violations.check_id("user_id", request.user_id)
        await self._service.erase(request.user_id)
        self._sender.wake()
        return pb.EraseUserResponse()

    async def _queue(self, notification_id: str, message: WrittenMessage) -> pb.Notification:
        status = await self._service.queue(notification_id, message)
        self._sender.wake()
        return to_notification(notification_id, message, status)


def _check_ids(violations: Violations, request: pb.SendEmailRequest | pb.SendSmsRequest) -> None:
    violations.check_id("notification_id", request.notification_id)
    violations.check_id("user_id", request.user_id)


def _check_action(request: dl.RetryDeadLetterRequest | dl.ResolveDeadLetterRequest) -> None:
    with Violations() as violations:
        _check_place(violations, request.place)
        violations.check_plain_line("note", request.note, shortest=0, longest=MAX_NOTE)


def _check_place(violations: Violations, place: dl.RecordPlace) -> None:
    violations.check_text("place.topic", place.topic, longest=_MAX_TOPIC)
    violations.check_range("place.partition", place.partition, smallest=0, largest=2**31 - 1)
    violations.check_range("place.offset", place.offset, smallest=0, largest=2**63 - 1)


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
