"""Between protobuf messages and what the notification service works with."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from domain.events import NOTIFICATION_EVENTS
from domain.notifications import Channel, NotificationStatus
from ordersaga.events.v1.notification_events_pb2 import NotificationChanged
from ordersaga.events.v1.order_events_pb2 import OrderTransitioned
from ordersaga.notification.v1 import dead_letters_pb2 as letters_pb
from ordersaga.notification.v1 import notification_pb2 as pb
from runtime.cloudevents import EVENT_HEADERS
from runtime.outbox import Event
from runtime.protos import enum_mapping, to_proto, to_timestamp
from services.notification.dead_letters.model import Place, StoredLetter
from services.notification.model import DeadLetterStatus, DueNotification, WrittenMessage

_LISTED: Final = 1_024
"""Most bytes of a key or a header in a list."""
_EVENT_TYPES: Final = {
    NotificationStatus.SENT: "notification.sent",
    NotificationStatus.FAILED: "notification.failed",
}


def to_mail(request: pb.SendEmailRequest) -> WrittenMessage:
    """The mail that a checked request asks for."""
    return WrittenMessage(
        channel=Channel.EMAIL,
        user_id=request.user_id,
        recipient=request.to or None,
        subject=request.subject,
        body=request.body,
    )


def to_sms(request: pb.SendSmsRequest) -> WrittenMessage:
    """The SMS that a checked request asks for."""
    return WrittenMessage(
        channel=Channel.SMS, user_id=request.user_id, recipient=request.phone, subject="", body=request.message
    )


def to_notification(notification_id: str, message: WrittenMessage, status: NotificationStatus) -> pb.Notification:
    """A notification on the wire."""
    statuses = enum_mapping(NotificationStatus, pb.NotificationStatus.DESCRIPTOR)
    return to_proto(pb.Notification, message, id=notification_id, status=statuses.to_proto(status))


def to_guest_order(request: pb.SendGuestLinkRequest, *, at: datetime) -> OrderTransitioned:
    """What a mail with a guest's link says of their order."""
    return to_proto(OrderTransitioned, request, is_guest=True, at=to_timestamp(at))


def to_place(place: letters_pb.RecordPlace) -> Place:
    """The place that a checked request names."""
    return Place(topic=place.topic, partition=place.partition, offset=place.offset)


def to_dead_letter(stored: StoredLetter) -> letters_pb.DeadLetter:
    """A dead letter on the wire, with all that is known of it."""
    letter, statuses = stored.letter, enum_mapping(DeadLetterStatus, letters_pb.DeadLetterStatus.DESCRIPTOR)
    return to_proto(
        letters_pb.DeadLetter,
        letter,
        place=to_proto(letters_pb.RecordPlace, stored.place),
        headers=[letters_pb.RecordHeader(name=name, value=value) for name, value in letter.headers],
        status=statuses.to_proto(stored.status),
        actions=[to_proto(letters_pb.DeadLetterAction, action) for action in stored.actions],
    )


def to_listed(stored: StoredLetter) -> letters_pb.DeadLetter:
    """A dead letter in a list, which holds no more of each than a line has room for."""
    listed = to_dead_letter(stored)
    of_event = [each for each in listed.headers if each.name in EVENT_HEADERS and len(each.value) <= _LISTED]
    del listed.headers[:], listed.actions[:-1]
    listed.headers.extend(of_event)
    listed.key = listed.key[:_LISTED]
    listed.ClearField("value")
    return listed


def to_event(due: DueNotification, status: NotificationStatus, *, seq: int, at: datetime) -> Event:
    """The event of a notification that ended SENT or FAILED at this moment."""
    return Event(
        topic=NOTIFICATION_EVENTS,
        key=due.key,
        type=_EVENT_TYPES[status],
        aggregate="notification",
        aggregate_id=due.key,
        seq=seq,
        cause_id=due.key,
        data=to_proto(
            NotificationChanged,
            due,
            notification_id=due.id,
            status=status.value,
            at=to_timestamp(at),
        ),
        at=at,
    )
