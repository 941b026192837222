"""What admins send to users."""

from __future__ import annotations

from litestar import Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from api.auth import SECURITY, SignedInRequest, admin
from api.problems import declared
from api.schemas.notifications import NewEmail, NewNotification, NewSms, Notification
from api.services import Services
from api.validation import StrictJson
from domain.ids import new_id
from ordersaga.notification.v1 import notification_pb2 as pb
from runtime.caller import Caller
from runtime.protos import from_proto, to_proto
from runtime.rpc_client import call


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
    return Response(from_proto(Notification, notification), status_code=202)


async def _send_email(data: NewEmail, *, caller: Caller, services: Services) -> pb.Notification:
    answer = await call(
        services.notification.SendEmail,
        to_proto(pb.SendEmailRequest, data, notification_id=data.notification_id or new_id()),
        caller=caller,
        deadline=services.deadline,
    )
    return answer.notification


async def _send_sms(data: NewSms, *, caller: Caller, services: Services) -> pb.Notification:
    answer = await call(
        services.notification.SendSms,
        to_proto(pb.SendSmsRequest, data, notification_id=data.notification_id or new_id()),
        caller=caller,
        deadline=services.deadline,
    )
    return answer.notification
