"""What admins send to users."""

from __future__ import annotations

from litestar import Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from api.auth import SECURITY, SignedInRequest, admin
from api.idempotency import OptionalKey, id_for
from api.problems import declared
from api.schemas.notifications import NewEmail, NewNotification, NewSms, Notification
from api.services import Services
from api.validation import StrictJson
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
    responses=declared(400, 401, 403, 404, 413, 415, 422, 501),
)
async def send_notification(
    request: SignedInRequest,
    data: JSONBody[NewNotification],
    services: NamedDependency[Services],
    idempotency_key: OptionalKey = None,
) -> Response[Notification]:
    """Queue a mail or an SMS to a user. Admins only.

    It is sent once per `Idempotency-Key`; a repeat answers with what became of it. Addresses, numbers and texts are
    forgotten once it is sent or has failed.
    """
    notification_id = id_for(idempotency_key, caller=request.user, route="POST /v1/notifications")
    if isinstance(data, NewEmail):
        notification = await _send_email(notification_id, data, caller=request.user, services=services)
    else:
        notification = await _send_sms(notification_id, data, caller=request.user, services=services)
    return Response(from_proto(Notification, notification), status_code=202)


async def _send_email(notification_id: str, data: NewEmail, *, caller: Caller, services: Services) -> pb.Notification:
    answer = await call(
        services.notification.SendEmail,
        to_proto(pb.SendEmailRequest, data, notification_id=notification_id),
        caller=caller,
        deadline=services.deadline,
    )
    return answer.notification


async def _send_sms(notification_id: str, data: NewSms, *, caller: Caller, services: Services) -> pb.Notification:
    answer = await call(
        services.notification.SendSms,
        to_proto(pb.SendSmsRequest, data, notification_id=notification_id),
        caller=caller,
        deadline=services.deadline,
    )
    return answer.notification
