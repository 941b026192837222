"""All SQL of the notification service. Every method is one statement, on the caller's connection.

A notification that is being sent is claimed: until its lease ends, its `next_attempt_at` is that end, and nobody else
takes it. That moment is the claim's name too, since the next claim of the same notification has a later one: what a
sender does whose lease has ended, and whose notification somebody else has claimed, changes nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from psycopg.errors import UniqueViolation

from domain.notifications import Channel, NotificationStatus
from runtime.database import Connection
from runtime.outbox import Event, encode_events, with_events
from services.notification.model import (
    DueNotification,
    OrderEvent,
    StoredNotification,
    Template,
    WrittenMessage,
    parse_order_event,
)

_RECEIVE: Final = """
    WITH received AS (
        INSERT INTO inbox (ce_id, received_at) VALUES (%(ce_id)s, now())
        ON CONFLICT DO NOTHING
        RETURNING ce_id
    )
    INSERT INTO notifications
           (id, user_id, channel, status, attempts, next_attempt_at, created_at,
            order_id, template, ce_id, order_seq, event)
    SELECT %(notification_id)s, %(user_id)s, %(channel)s, 'PENDING', 0, now(), now(),
           %(order_id)s, %(template)s, ce_id, %(order_seq)s, %(event)s
      FROM received
"""
_ADD_WRITTEN: Final = """
    INSERT INTO notifications
           (id, user_id, channel, status, attempts, next_attempt_at, created_at,
            recipient, subject, body, fingerprint)
    VALUES (%(notification_id)s, %(user_id)s, %(channel)s, 'PENDING', 0, now(), now(),
            %(recipient)s, %(subject)s, %(body)s, %(fingerprint)s)
    ON CONFLICT DO NOTHING
"""
# A number is only read here, so somebody else may take it first; then it is read again.
_NEXT_SEQ: Final = """
    CASE WHEN due.order_id IS NULL
         THEN (SELECT coalesce(max(told.seq), 0) + 1 FROM notifications AS told
                WHERE told.user_id = due.user_id AND told.order_id IS NULL)
         ELSE (SELECT coalesce(max(told.seq), 0) + 1 FROM notifications AS told WHERE told.order_id = due.order_id)
    END
"""
_CLAIM_DUE: Final = f"""
    UPDATE notifications AS due
       SET next_attempt_at = now() + %(lease)s
     WHERE id = (
           SELECT id FROM notifications AS waiting
            WHERE status = 'PENDING' AND next_attempt_at <= now()
              AND NOT EXISTS (
                  SELECT FROM notifications AS earlier
                   WHERE earlier.order_id = waiting.order_id AND earlier.order_seq < waiting.order_seq
                     AND earlier.status = 'PENDING')
            ORDER BY next_attempt_at
            LIMIT 1
              FOR UPDATE SKIP LOCKED)
    RETURNING id AS notification_id, attempts, next_attempt_at AS lease_ends_at, {_NEXT_SEQ} AS next_seq,
              user_id, channel, template, ce_id, order_seq, event, recipient, subject, body
"""  # noqa: S608 - put together from constants
_READ_NEXT_SEQ: Final = f"""
    SELECT {_NEXT_SEQ} FROM notifications AS due WHERE id = %(notification_id)s
"""  # noqa: S608 - put together from constants
_CLAIMED: Final = "id = %(notification_id)s AND status = 'PENDING' AND next_attempt_at = %(lease_ends_at)s"
_FINISH: Final = with_events(
    f"""
    changed AS (
        UPDATE notifications
           SET status = %(status)s, attempts = attempts + 1, last_error = %(error)s, sent_at = %(sent_at)s,
               seq = %(seq)s, recipient = NULL, subject = NULL, body = NULL
         WHERE {_CLAIMED}
        RETURNING id
    )
    """,  # noqa: S608 - put together from constants
    answer="""
        EXISTS (SELECT FROM notifications AS other
                 WHERE other.status = 'PENDING' AND other.next_attempt_at <= now() AND other.id <> changed.id)
    """,
)
_POSTPONE: Final = f"""
    UPDATE notifications
       SET attempts = attempts + 1, next_attempt_at = now() + %(delay)s, last_error = %(error)s
     WHERE {_CLAIMED}
"""  # noqa: S608 - put together from constants
_GIVE_BACK: Final = f"UPDATE notifications SET next_attempt_at = now() WHERE {_CLAIMED}"  # noqa: S608 - from constants
_NUMBERS: Final = frozenset({"uq_notifications_order_id_seq", "uq_notifications_user_id_seq"})


class NumberTaken(Exception):
    """Another notification of the same order or user has ended with the number that this one was to have."""


class NotificationRepository:
    """Inbox and notifications, on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def receive(self, notification_id: str, event: OrderEvent) -> bool:
        """Put an event in the inbox, and with it the mail that it owes.

        False when it is there, also after waiting for a twin's transaction.
        """
        added = await self._connection.execute(
            _RECEIVE,
            notification_id=notification_id,
            user_id=event.data.user_id,
            channel=Channel.EMAIL,
            order_id=event.data.order_id,
            template=event.template,
            ce_id=event.id,
            order_seq=event.seq,
            event=event.text,
        )
        return added == 1

    async def add_written(self, notification_id: str, message: WrittenMessage) -> bool:
        """Write down a message that is owed; false when the id is there, also after waiting for a twin."""
        added = await self._connection.execute(
            _ADD_WRITTEN,
            notification_id=notification_id,
            user_id=message.user_id,
            channel=message.channel,
            recipient=message.recipient,
            subject=message.subject,
            body=message.body,
            fingerprint=message.fingerprint,
        )
        return added == 1

    async def find(self, notification_id: str) -> StoredNotification | None:
        """What became of a notification; None when there is none."""
        return await self._connection.fetch_one(
            _to_stored,
            "SELECT status, fingerprint FROM notifications WHERE id = %(notification_id)s",
            notification_id=notification_id,
        )

    async def claim_due(self, *, lease: timedelta) -> DueNotification | None:
        """Take what has been due longest; None when nothing is due. After the lease it is due again.

        A mail waits for the earlier ones of its order, so that a customer reads the story in its order.
        """
        return await self._connection.fetch_one(_to_due, _CLAIM_DUE, lease=lease)

    async def postpone(self, notification: DueNotification, *, delay: timedelta, error: str | None) -> bool:
        """Count a failed attempt, and set the next one; false if the claim is lost."""
        postponed = await self._connection.execute(_POSTPONE, **_claim(notification), delay=delay, error=error)
        return postponed == 1

    async def give_back(self, notification: DueNotification) -> None:
        """End the claim, as if there had been none."""
        await self._connection.execute(_GIVE_BACK, **_claim(notification))

    async def next_seq(self, notification: DueNotification) -> int:
        """The number that our next event of the notification's key has, unless somebody takes it meanwhile."""
        seq: int = await self._connection.fetch_value(_READ_NEXT_SEQ, notification_id=notification.id)
        return seq

    async def finish(
        self,
        notification: DueNotification,
        status: NotificationStatus,
        *,
        error: str | None,
        event: Event,
        at: datetime,
    ) -> bool | None:
        """Close a notification as SENT or FAILED, with its event, and forget what it said to whom.

        Returns:
            Whether others are due; None, and nothing changed, if the claim is lost.

        Raises:
            NumberTaken: the event needs another number; nothing changed. Of two that end at once, one waits for the
                other here, so numbers have no gap, and events of a key are added in the order of their numbers.
        """
        try:
            more: bool | None = await self._connection.fetch_value(
                _FINISH,
                **_claim(notification),
                status=status,
                error=error,
                sent_at=at if status is NotificationStatus.SENT else None,
                seq=event.seq,
                events=encode_events([event]),
            )
        except UniqueViolation as violation:
            if violation.diag.constraint_name in _NUMBERS:
                raise NumberTaken from None
            raise
        return more


def _claim(notification: DueNotification) -> dict[str, object]:
    return {"notification_id": notification.id, "lease_ends_at": notification.lease_ends_at}


def _to_stored(*, status: str, fingerprint: bytes | None) -> StoredNotification:
    return StoredNotification(status=NotificationStatus(status), fingerprint=fingerprint)


def _to_due(
    *, notification_id: str, attempts: int, lease_ends_at: datetime, next_seq: int, **columns: Any
) -> DueNotification:
    content = _to_written(**columns) if columns["event"] is None else _to_order_event(**columns)
    return DueNotification(
        id=notification_id, content=content, attempts=attempts, lease_ends_at=lease_ends_at, next_seq=next_seq
    )


def _to_written(
    *, user_id: str, channel: str, recipient: str | None, subject: str, body: str, **_: object
) -> WrittenMessage:
    return WrittenMessage(channel=Channel(channel), user_id=user_id, recipient=recipient, subject=subject, body=body)


def _to_order_event(*, template: str, ce_id: str, order_seq: int, event: str, **_: object) -> OrderEvent:
    return OrderEvent(id=ce_id, seq=order_seq, template=Template(template), data=parse_order_event(event), text=event)
