"""All SQL of the notification service. Every method is one statement, on the caller's connection."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final, LiteralString

from psycopg.errors import UniqueViolation

from domain.notifications import Channel, NotificationStatus
from runtime.database import Connection
from runtime.due_work import NO_LEASE, Claimed, DueTable, Stored
from runtime.outbox import Event, encode_events, with_events
from services.notification.model import (
    AccountEvent,
    DueNotification,
    OrderEvent,
    StoredNotification,
    Template,
    WrittenMessage,
    parse_account_event,
    parse_order_event,
)

_ADD_WRITTEN: Final = """
    INSERT INTO notifications
           (id, user_id, channel, status, attempts, next_attempt_at, created_at,
            recipient, subject, body, fingerprint, traceparent)
    VALUES (%(notification_id)s, %(user_id)s, %(channel)s, 'PENDING', 0, now(), now(),
            %(recipient)s, %(subject)s, %(body)s, %(fingerprint)s, %(traceparent)s::text)
    ON CONFLICT DO NOTHING
"""
# A number is only read here, so somebody else may take it first; then it is read again.
_NEXT_SEQ: Final[LiteralString] = """
    CASE WHEN claimed.order_id IS NULL
         THEN (SELECT coalesce(max(ended.seq), 0) + 1 FROM notifications AS ended
                WHERE ended.user_id = claimed.user_id AND ended.order_id IS NULL)
         ELSE (SELECT coalesce(max(ended.seq), 0) + 1 FROM notifications AS ended
                WHERE ended.order_id = claimed.order_id)
    END
"""
_READ_NEXT_SEQ: Final = f"""
    SELECT {_NEXT_SEQ} FROM notifications AS claimed WHERE id = %(notification_id)s
"""  # noqa: S608 - put together from constants


def _to_due(*, notification_id: str, next_seq: int, created_at: datetime, **columns: Any) -> DueNotification:
    return DueNotification(id=notification_id, content=_to_content(**columns), next_seq=next_seq, created_at=created_at)


def _to_content(**columns: Any) -> OrderEvent | AccountEvent | WrittenMessage:
    if columns["event"] is None:
        return _to_written(**columns)
    return _to_account_event(**columns) if columns["order_seq"] is None else _to_order_event(**columns)


def _to_written(
    *, user_id: str, channel: str, recipient: str | None, subject: str, body: str, **_: object
) -> WrittenMessage:
    return WrittenMessage(channel=Channel(channel), user_id=user_id, recipient=recipient, subject=subject, body=body)


def _to_order_event(*, template: str, ce_id: str, order_seq: int, event: str, **_: object) -> OrderEvent:
    return OrderEvent(id=ce_id, seq=order_seq, template=Template(template), data=parse_order_event(event), text=event)


def _to_account_event(*, template: str, ce_id: str, event: str, **_: object) -> AccountEvent:
    return AccountEvent(id=ce_id, template=Template(template), data=parse_account_event(event), text=event)


FIRST_OF_ITS_ORDER: Final[LiteralString] = """
    NOT EXISTS (SELECT FROM notifications AS earlier
                 WHERE earlier.order_id = notifications.order_id AND earlier.order_seq < notifications.order_seq
                   AND earlier.status = 'PENDING')
"""
"""A mail waits for the earlier ones of its order, so that a customer reads what happened in its order."""
DUE_NOTIFICATIONS: Final = DueTable(
    table="notifications",
    key="id",
    pending="status = 'PENDING'",
    ready=FIRST_OF_ITS_ORDER,
    columns=f"""
        claimed.id AS notification_id, claimed.created_at, {_NEXT_SEQ} AS next_seq, claimed.user_id,
        claimed.channel, claimed.template,
        claimed.ce_id, claimed.order_seq, claimed.event, claimed.recipient, claimed.subject, claimed.body
    """,
    make=_to_due,
)
# Claimed by its storing, unless it has to wait for an earlier one of its order.
_RECEIVE: Final = f"""
    WITH received AS (
        INSERT INTO inbox (ce_id, received_at) VALUES (%(ce_id)s, now())
        ON CONFLICT DO NOTHING
        RETURNING ce_id
    ),
    claimed AS (
        INSERT INTO notifications
               (id, user_id, channel, status, attempts, next_attempt_at, created_at,
                order_id, template, ce_id, order_seq, event, traceparent)
        SELECT %(notification_id)s, %(user_id)s, %(channel)s, 'PENDING', claims,
               now() + claims * %(lease)s::interval, now(),
               order_id, %(template)s, ce_id, order_seq, %(event)s, %(traceparent)s::text
          FROM (SELECT ce_id, order_id, order_seq,
                       CASE WHEN {FIRST_OF_ITS_ORDER} THEN %(claims)s::int ELSE 0 END AS claims
                  FROM (SELECT ce_id, %(order_id)s::uuid AS order_id, %(order_seq)s::bigint AS order_seq
                          FROM received) AS notifications) AS new
        ON CONFLICT (ce_id) DO NOTHING
        RETURNING *
    )
    {DUE_NOTIFICATIONS.select_claimed}
"""  # noqa: S608 - put together from constants
_FINISH: Final = with_events(
    f"""
    changed AS (
        UPDATE notifications
           SET status = %(status)s, last_error = %(error)s, seq = %(seq)s, dismissed = %(dismissed)s,
               sent_at = %(sent_at)s::timestamptz, failed_at = %(failed_at)s,
               recipient = NULL, subject = NULL, body = NULL,
               event = CASE WHEN %(sent_at)s::timestamptz IS NULL THEN event END
         WHERE {DUE_NOTIFICATIONS.still_claimed}
        RETURNING id
    )
    """,  # noqa: S608 - put together from constants
    answer="""
        EXISTS (SELECT FROM notifications AS other
                 WHERE other.status = 'PENDING' AND other.next_attempt_at <= now() AND other.id <> changed.id)
    """,
)
_WITHHOLD: Final = f"""
    UPDATE notifications
       SET withheld = true, next_attempt_at = now() + %(delay)s, last_error = NULL, attempts = 0
     WHERE {DUE_NOTIFICATIONS.still_claimed}
"""  # noqa: S608 - put together from constants
_NUMBERS: Final = frozenset({"uq_notifications_order_id_seq", "uq_notifications_user_id_seq"})


class NumberTaken(Exception):
    """Another notification of the same order or user has ended with the number that this one was to have."""


class NotificationRepository:
    """Inbox and notifications, on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def receive(
        self, notification_id: str, event: OrderEvent | AccountEvent, *, claims: int = 0, lease: timedelta = NO_LEASE
    ) -> Stored[DueNotification]:
        """Put an event in the inbox, and with it the mail that is due, claimed if it may be and waits for no other.

        Nothing is stored when it is there, also after waiting for a concurrent duplicate, or when it has gone from
        there, and its mail is still known.
        """
        return await DUE_NOTIFICATIONS.store(
            self._connection,
            _RECEIVE,
            notification_id=notification_id,
            user_id=event.data.user_id,
            channel=Channel.EMAIL,
            order_id=event.data.order_id if isinstance(event, OrderEvent) else None,
            template=event.template,
            ce_id=event.id,
            order_seq=event.seq if isinstance(event, OrderEvent) else None,
            event=event.text,
            claims=claims,
            lease=lease,
        )

    async def add_written(self, notification_id: str, message: WrittenMessage) -> bool:
        """Store a message to be sent; false when the id is there, also after waiting for a concurrent duplicate."""
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
            f"""
            SELECT status, fingerprint, last_error, dismissed, NOT ({FIRST_OF_ITS_ORDER}) AS follows
              FROM notifications WHERE id = %(notification_id)s
            """,  # noqa: S608 - put together from constants
            notification_id=notification_id,
        )

    async def make_due(self, notification_id: str) -> bool:
        """Let what waits, or a mail that failed and whose text was not given, be sent at once; false for any other.

        Its last error is forgotten, so that there is one again only once the next attempt has failed.
        """
        changed = await self._connection.execute(
            """
            UPDATE notifications
               SET status = 'PENDING', last_error = NULL, dismissed = NULL, next_attempt_at = now(),
                   attempts = CASE status WHEN 'PENDING' THEN attempts ELSE 0 END
             WHERE id = %(notification_id)s
               AND (status = 'PENDING' OR status = 'FAILED' AND event IS NOT NULL)
            """,
            notification_id=notification_id,
        )
        return changed == 1

    async def dismiss(self, notification_id: str, *, note: str) -> bool:
        """Leave alone what failed; false for any other, and for what is left alone already."""
        changed = await self._connection.execute(
            """
            UPDATE notifications SET dismissed = %(note)s
             WHERE id = %(notification_id)s AND status = 'FAILED' AND dismissed IS NULL
            """,
            notification_id=notification_id,
            note=note,
        )
        return changed == 1

    async def withhold(self, claimed: Claimed[DueNotification], *, delay: timedelta) -> bool:
        """Let a notification wait until its user's address is confirmed, or else be looked at again after `delay`.

        False, and nothing is changed, when the claim is lost.
        """
        return await self._connection.execute(_WITHHOLD, **claimed.parameters, delay=delay) == 1

    async def make_withheld_due(self, user_id: str) -> bool:
        """Let what is withheld from a user be looked at at once; whether there is any."""
        changed = await self._connection.execute(
            """
            UPDATE notifications SET next_attempt_at = now()
             WHERE user_id = %(user_id)s AND status = 'PENDING' AND withheld AND next_attempt_at > now()
            """,
            user_id=user_id,
        )
        return changed > 0

    async def erase(self, user_id: str) -> None:
        """Forget what waits to be said to a user, which is then looked at at once, and what repeats were known by.

        What was written is about no order: by that the index of those numbers leads to it.
        """
        await self._connection.execute(
            """
            UPDATE notifications
               SET recipient = NULL, fingerprint = '',
                   subject = CASE status WHEN 'PENDING' THEN '' END, body = CASE status WHEN 'PENDING' THEN '' END,
                   next_attempt_at = CASE status WHEN 'PENDING' THEN now() ELSE next_attempt_at END
             WHERE user_id = %(user_id)s AND order_id IS NULL AND fingerprint <> ''
            """,
            user_id=user_id,
        )

    async def next_seq(self, notification_id: str) -> int:
        """The number that our next event of the notification's key has, unless somebody takes it meanwhile."""
        seq: int = await self._connection.fetch_value(_READ_NEXT_SEQ, notification_id=notification_id)
        return seq

    async def finish(
        self,
        claimed: Claimed[DueNotification],
        status: NotificationStatus,
        *,
        error: str | None,
        dismissed: str | None,
        event: Event,
        at: datetime,
    ) -> bool | None:
        """Close a notification as SENT or FAILED, with its event, and forget what it said to whom.

        One that is `dismissed` needs nobody though it failed.

        Returns:
            Whether others are due; None, and nothing changed, if the claim is lost.

        Raises:
            NumberTaken: the event needs another number; nothing changed. Of two that end at once, one waits for the
                other here, so numbers have no gap, and events of a key are added in the order of their numbers.
        """
        try:
            more: bool | None = await self._connection.fetch_value(
                _FINISH,
                **claimed.parameters,
                status=status,
                error=error,
                dismissed=dismissed,
                sent_at=at if status is NotificationStatus.SENT else None,
                failed_at=at if status is NotificationStatus.FAILED else None,
                seq=event.seq,
                events=encode_events([event]),
            )
        except UniqueViolation as violation:
            if violation.diag.constraint_name in _NUMBERS:
                raise NumberTaken from None
            raise
        return more


def _to_stored(*, status: str, **columns: Any) -> StoredNotification:
    return StoredNotification(status=NotificationStatus(status), **columns)
