"""All SQL of the notification service. Every method runs in the caller's transaction and never commits."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from google.protobuf.json_format import MessageToJson, Parse
from sqlalchemy import Row, exists, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import aliased
from sqlmodel import col

from domain.notifications import Channel, NotificationStatus
from ordersaga.events.v1.order_events_pb2 import OrderTransitioned
from runtime.outbox import Event, add_events
from services.notification.model import DueNotification, OrderEvent, StoredNotification, Template, WrittenMessage
from services.notification.tables import Inbox, Notification, Outbox


class NotificationRepository:
    """Inbox and notifications, in one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def now(self) -> datetime:
        """The transaction's time."""
        return (await self._connection.execute(select(func.now()))).scalar_one()

    async def receive(self, ce_id: str, *, at: datetime) -> bool:
        """Put an event in the inbox; false when it is there, also after waiting for a twin's transaction."""
        statement = (
            upsert(Inbox).values(ce_id=ce_id, received_at=at).on_conflict_do_nothing().returning(col(Inbox.ce_id))
        )
        return (await self._connection.execute(statement)).one_or_none() is not None

    async def add_order_mail(self, notification_id: str, event: OrderEvent, *, at: datetime) -> None:
        """Write down a mail that is owed for an event."""
        row = {
            **_pending(notification_id, user_id=event.data.user_id, channel=Channel.EMAIL, at=at),
            "order_id": event.data.order_id,
            "template": event.template.value,
            "ce_id": event.id,
            "order_seq": event.seq,
            "event": MessageToJson(event.data, indent=None),
        }
        await self._connection.execute(insert(Notification).values(row))

    async def add_written(self, notification_id: str, message: WrittenMessage, *, at: datetime) -> None:
        """Write down a message that is owed; nothing when the id is there, also after waiting for a twin."""
        row = {
            **_pending(notification_id, user_id=message.user_id, channel=message.channel, at=at),
            "recipient": message.recipient,
            "subject": message.subject,
            "body": message.body,
            "fingerprint": message.fingerprint,
        }
        await self._connection.execute(upsert(Notification).values(row).on_conflict_do_nothing())

    async def find(self, notification_id: str) -> StoredNotification | None:
        """What became of a notification; None when there is none."""
        statement = select(col(Notification.status), col(Notification.fingerprint)).where(
            col(Notification.id) == notification_id
        )
        row = (await self._connection.execute(statement)).one_or_none()
        if row is None:
            return None
        return StoredNotification(status=NotificationStatus(row.status), fingerprint=row.fingerprint)

    async def lock_due(self) -> DueNotification | None:
        """What has been due longest, held until the end of the transaction; None when nothing is due.

        A mail waits for the earlier ones of its order, so that a customer reads the story in its order.
        """
        earlier = aliased(Notification)
        waits = exists().where(
            col(earlier.order_id) == col(Notification.order_id),
            col(earlier.order_seq) < col(Notification.order_seq),
            col(earlier.status) == NotificationStatus.PENDING.value,
        )
        statement = (
            select(
                col(Notification.id),
                col(Notification.template),
                col(Notification.ce_id),
                col(Notification.order_seq),
                col(Notification.event),
                col(Notification.attempts),
                col(Notification.user_id),
                col(Notification.channel),
                col(Notification.recipient),
                col(Notification.subject),
                col(Notification.body),
            )
            .where(
                col(Notification.status) == NotificationStatus.PENDING.value,
                col(Notification.next_attempt_at) <= func.now(),
                ~waits,
            )
            .order_by(col(Notification.next_attempt_at))
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        row = (await self._connection.execute(statement)).one_or_none()
        return None if row is None else DueNotification(id=row.id, content=_content(row), attempts=row.attempts)

    async def postpone(self, notification: DueNotification, *, delay: timedelta, error: str) -> None:
        """Count a failed attempt of a notification that is held, and set the next one."""
        await self._connection.execute(
            update(Notification)
            .where(col(Notification.id) == notification.id)
            .values(
                attempts=col(Notification.attempts) + 1,
                next_attempt_at=func.clock_timestamp() + delay,
                last_error=error,
            )
        )

    async def next_seq(self, notification: DueNotification) -> int:
        """The number of our next event of the notification's key, that nobody else gets.

        An order's mails are finished one after the other (`lock_due`); a user's messages wait for each other here,
        until the end of the transaction.
        """
        if notification.order_id is not None:
            same_key = [col(Notification.order_id) == notification.order_id]
        else:
            same_key = [col(Notification.user_id) == notification.user_id, col(Notification.order_id).is_(None)]
            lock = func.pg_advisory_xact_lock(func.hashtextextended(notification.user_id, 0))
            await self._connection.execute(select(lock))
        last = (await self._connection.execute(select(func.max(col(Notification.seq))).where(*same_key))).scalar_one()
        return (last or 0) + 1

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
            update(Notification)
            .where(col(Notification.id) == notification.id)
            .values(
                status=status.value,
                attempts=col(Notification.attempts) + 1,
                last_error=error,
                sent_at=at if status is NotificationStatus.SENT else None,
                seq=event.seq,
                recipient=None,
                subject=None,
                body=None,
            )
        )
        await add_events(self._connection, Outbox, [event])


def _pending(notification_id: str, *, user_id: str, channel: Channel, at: datetime) -> dict[str, object]:
    """The columns that every new row has."""
    return {
        "id": notification_id,
        "user_id": user_id,
        "channel": channel.value,
        "status": NotificationStatus.PENDING.value,
        "attempts": 0,
        "next_attempt_at": at,
        "created_at": at,
    }


def _content(row: Row[*tuple[Any, ...]]) -> OrderEvent | WrittenMessage:
    if row.event is None:
        return WrittenMessage(
            channel=Channel(row.channel),
            user_id=row.user_id,
            recipient=row.recipient,
            subject=row.subject,
            body=row.body,
        )
    data = Parse(row.event, OrderTransitioned())
    return OrderEvent(id=row.ce_id, seq=row.order_seq, template=Template(row.template), data=data)
