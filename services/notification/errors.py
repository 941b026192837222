"""Why a message is not taken in or does not get out. No text holds an address: SMTP servers like to quote them."""

from __future__ import annotations

import grpc

from domain.refusals import Refusal
from runtime.refusal import OtherSideAway, Refused, Unavailable


class MessageDelayed(Unavailable):
    """It did not work now; later it may."""


class MailRelayUnusable(MessageDelayed, OtherSideAway):
    """The SMTP relay takes no mail from us as we are set up; the message says what to mend. Every mail waits."""


class MessageRefused(Exception):
    """It will never work."""


class RecipientUnknown(MessageRefused):
    """The user service has no address to give."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.value)


class MessageNotNeeded(MessageRefused):
    """Nobody has to be told any more; the message says why."""


class UserNotFound(Refused):
    """A message is for somebody who has no account."""

    refusal = Refusal.USER_NOT_FOUND
    code = grpc.StatusCode.NOT_FOUND

    def __init__(self, user_id: str) -> None:
        super().__init__(f"there is no user {user_id}", user_id=user_id)


class DeadLetterNotFound(Refused):
    """No record of that place was refused."""

    refusal = Refusal.DEAD_LETTER_NOT_FOUND
    code = grpc.StatusCode.NOT_FOUND

    def __init__(self, place: str) -> None:
        super().__init__(f"there is no dead letter {place}", place=place)


class SmsNotConfigured(Refused):
    """Nobody has said by which account SMS are sent."""

    refusal = Refusal.SMS_NOT_CONFIGURED

    def __init__(self) -> None:
        super().__init__("no SMS can be sent: this installation has no Twilio account; nothing was queued")


class NotificationDiffers(Refused):
    """The id stands for another notification."""

    refusal = Refusal.NOTIFICATION_DIFFERS

    def __init__(self, notification_id: str) -> None:
        super().__init__(
            "this Idempotency-Key was used with another notification; take a new key", notification_id=notification_id
        )


class NotificationNotFound(Refused):
    """There is no such notification."""

    refusal = Refusal.NOTIFICATION_NOT_FOUND
    code = grpc.StatusCode.NOT_FOUND

    def __init__(self, notification_id: str) -> None:
        super().__init__(f"there is no notification {notification_id}", notification_id=notification_id)


class NotificationDone(Refused):
    """Nothing can be done about the notification; the message says why."""

    refusal = Refusal.NOTIFICATION_DONE

    def __init__(self, notification_id: str, why: str) -> None:
        super().__init__(f"notification {notification_id} {why}", notification_id=notification_id)
