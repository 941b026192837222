"""What admins send to users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from litestar import Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from api.auth import SECURITY, SignedInRequest, admin
from api.problems import declared
from api.schemas import NewEmail, NewNotification, NewSms, Notification
from api.services import Services
from api.validation import StrictJson
from domain.ids import new_id
from domain.notifications import Channel, NotificationStatus
from ordersaga.notification.v1 import notification_pb2 as pb
from runtime.caller import Caller
from runtime.rpc_client import call

_CHANNELS: Final[Mapping[pb.Channel.ValueType, Channel]] = {
    pb.CHANNEL_EMAIL: Channel.EMAIL,
    pb.CHANNEL_SMS: Channel.SMS,
}
_STATUSES: Final[Mapping[pb.NotificationStatus.ValueType, NotificationStatus]] = {
    pb.NOTIFICATION_STATUS_PENDING: NotificationStatus.PENDING,
    pb.NOTIFICATION_STATUS_SENT: NotificationStatus.SENT,
    pb.NOTIFICATION_STATUS_FAILED: NotificationStatus.FAILED,
}


@post(
    "/v1/notifications",
    operation_id="sendNotification",
    summary="Send a user a mail or an SMS",
    tags=["notifications"],
    status_code=202,
    guards=[admin],
    security=SECURITY,
    dto=StrictJson[NewNotification],
    responses=declared(400, 401, 403, 404, 409, 413, 415, 501),
)
async def send_notification(
    request: SignedInRequest, data: JSONBody[NewNotification], services: NamedDependency[Services]
) -> Response[Notification]:
    """Queue a mail or an SMS to a user. Admins only.

    The same `notification_id` sends it once; a repeat answers with what became of it. Addresses, numbers and texts are
    forgotten once it is sent or has failed.
    """
    if isinstance(data, NewEmail):
        notification = await _send_email(data, caller=request.user, services=services)
    else:
        notification = await _send_sms(data, caller=request.user, services=services)
    answer = Notification(
        id=notification.id, channel=_CHANNELS[notification.channel], status=_STATUSES[notification.status]
    )
    return Response(answer, status_code=202)


async def _send_email(data: NewEmail, *, caller: Caller, services: Services) -> pb.Notification:
    answer = await call(
        services.notification.SendEmail,
        pb.SendEmailRequest(
            notification_id=data.notification_id or new_id(),
            user_id=data.user_id,
            to=data.to or "",
            subject=data.subject,
            body=data.body,
        ),
        caller=caller,
        deadline=services.deadline,
    )
    return answer.notification


async def _send_sms(data: NewSms, *, caller: Caller, services: Services) -> pb.Notification:
    answer = await call(
        services.notification.SendSms,
        pb.SendSmsRequest(
            notification_id=data.notification_id or new_id(),
            user_id=data.user_id,
            phone=data.phone,
            message=data.message,
        ),
        caller=caller,
        deadline=services.deadline,
    )
    return answer.notification
