"""Messages to users, as they cross HTTP."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

from api.schemas.fields import Email, Id, Request, written
from domain.notifications import MAX_BODY, MAX_PHONE, MAX_SMS, MAX_SUBJECT, Channel, NotificationStatus


class NewEmail(Request, frozen=True, kw_only=True, tag_field="channel", tag=Channel.EMAIL.value):
    """A mail to send to a user: to their own address, unless `to` names another."""

    user_id: Id
    to: Email | None = None
    subject: Annotated[
        str,
        written(MAX_SUBJECT, without=r"\x00-\x1f\x7f\x85\u2028\u2029", rule="one line"),
    ]
    body: Annotated[str, written(MAX_BODY)]
    notification_id: Id | None = None


class NewSms(Request, frozen=True, kw_only=True, tag_field="channel", tag=Channel.SMS.value):
    """An SMS to send to a user."""

    user_id: Id
    phone: Annotated[
        str,
        Meta(
            pattern=r"^\+[1-9][0-9]{1,14}$(?!\n)",  # Python's $ alone would let a line feed pass behind it
            max_length=MAX_PHONE,
            description="a telephone number in E.164 form, for example +15005550006",
            examples=["+15005550006"],
        ),
    ]
    message: Annotated[str, written(MAX_SMS)]
    notification_id: Id | None = None


NewNotification: TypeAlias = NewEmail | NewSms


class Notification(Struct, frozen=True, kw_only=True):
    """A message to a user, and what became of it; `SENT` once the mail relay or Twilio has taken it."""

    id: str
    channel: Channel
    status: NotificationStatus
