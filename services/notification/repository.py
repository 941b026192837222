"""All SQL of the notification service. Every method runs on the caller's connection, in its transaction."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

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
_LOCK_DUE: Final = """
    SELECT id AS notification_id, attempts, user_id, channel,
           template, ce_id, order_seq, event, recipient, subject, body
      FROM notifications AS due
     WHERE status = 'PENDING' AND next_attempt_at <= now()
       AND NOT EXISTS (
           SELECT FROM notifications AS earlier
            WHERE earlier.order_id = due.order_id AND earlier.order_seq < due.order_seq AND earlier.status = 'PENDING')
     ORDER BY next_attempt_at
     LIMIT 1
       FOR UPDATE SKIP LOCKED
"""
_NEXT_OF_ORDER: Final = "SELECT coalesce(max(seq), 0) + 1 FROM notifications WHERE order_id = %(key)s"
_NEXT_OF_USER: Final = """
    SELECT coalesce(max(seq), 0) + 1 FROM notifications WHERE user_id = %(key)s AND order_id IS NULL
"""
_FINISH: Final = with_events("""
    changed AS (
        UPDATE notifications
           SET status = %(status)s, attempts = attempts + 1, last_error = %(error)s, sent_at = %(sent_at)s,
               seq = %(seq)s, recipient = NULL, subject = NULL, body = NULL
         WHERE id = %(notification_id)s
        RETURNING id
    )
""")


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

    async def lock_due(self) -> DueNotification | None:
        """What has been due longest, held until the end of the transaction; None when nothing is due.

        A mail waits for the earlier ones of its order, so that a customer reads the story in its order.
        """
        return await self._connection.fetch_one(_to_due, _LOCK_DUE)

    async def postpone(self, notification: DueNotification, *, delay: timedelta, error: str) -> None:
        """Count a failed attempt of a notification that is held, and set the next one."""
        await self._connection.execute(
            """
            UPDATE notifications
               SET attempts = attempts + 1, next_attempt_at = clock_timestamp() + %(delay)s, last_error = %(error)s
             WHERE id = %(notification_id)s
            """,
            delay=delay,
            error=error,
            notification_id=notification.id,
        )

    async def next_seq(self, notification: DueNotification) -> int:
        """The number of our next event of the notification's key; others with that key wait for the transaction's end.

        Those of an order too: of two mails that are sent at once, the earlier one's event may have come late.
        """
        # Apart from the reading, which else would not see the number that it waited for.
        await self._connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%(key)s, 0))", key=notification.key
        )
        statement = _NEXT_OF_USER if notification.order_id is None else _NEXT_OF_ORDER
        seq: int = await self._connection.fetch_value(statement, key=notification.key)
        return seq

    async def finish(
        self,
        notification: DueNotification,
        status: NotificationStatus,
        *,
        error: str | None,
        event: Event,
        at: datetime,
    ) -> None:
        """Close a notification that is held, as SENT or FAILED, with its event, and forget what it said to whom."""
        await self._connection.execute(
            _FINISH,
            status=status,
            error=error,
            sent_at=at if status is NotificationStatus.SENT else None,
            seq=event.seq,
            notification_id=notification.id,
            events=encode_events([event]),
        )


def _to_stored(*, status: str, fingerprint: bytes | None) -> StoredNotification:
    return StoredNotification(status=NotificationStatus(status), fingerprint=fingerprint)


def _to_due(*, notification_id: str, attempts: int, **columns: Any) -> DueNotification:
    content = _to_written(**columns) if columns["event"] is None else _to_order_event(**columns)
    return DueNotification(id=notification_id, content=content, attempts=attempts)


def _to_written(
    *, user_id: str, channel: str, recipient: str | None, subject: str, body: str, **_: object
) -> WrittenMessage:
    return WrittenMessage(channel=Channel(channel), user_id=user_id, recipient=recipient, subject=subject, body=body)


def _to_order_event(*, template: str, ce_id: str, order_seq: int, event: str, **_: object) -> OrderEvent:
    return OrderEvent(
        id=ce_id, seq=order_seq, template=Template(template), data=parse_order_event(event), text=event
    )
