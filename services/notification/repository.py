"""All SQL of the notification service. Every method runs in the caller's transaction and never commits."""

from __future__ import annotations

from datetime import datetime, timedelta

from google.protobuf.json_format import MessageToJson, Parse
from sqlalchemy import exists, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import aliased
from sqlmodel import col

from ordersaga.events.v1.order_events_pb2 import OrderTransitioned
from runtime.outbox import Event, add_events
from services.notification.model import DueMail, NotificationStatus, OrderEvent, Template
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

    async def add(self, mail: DueMail, *, at: datetime) -> None:
        """Write down a mail that is owed."""
        row = {
            "id": mail.id,
            "order_id": mail.event.data.order_id,
            "user_id": mail.event.data.user_id,
            "template": mail.event.template.value,
            "ce_id": mail.event.id,
            "order_seq": mail.event.seq,
            "event": MessageToJson(mail.event.data, indent=None),
            "status": NotificationStatus.PENDING.value,
            "attempts": mail.attempts,
            "next_attempt_at": at,
            "created_at": at,
        }
        await self._connection.execute(insert(Notification).values(row))

    async def lock_due(self) -> DueMail | None:
        """The mail that has been due longest, held until the end of the transaction; None when none is due.

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
        if row is None:
            return None
        data = Parse(row.event, OrderTransitioned())
        event = OrderEvent(id=row.ce_id, seq=row.order_seq, template=Template(row.template), data=data)
        return DueMail(id=row.id, event=event, attempts=row.attempts)

    async def postpone(self, mail: DueMail, *, delay: timedelta, error: str) -> None:
        """Count a failed attempt of a mail that is held, and set the next one."""
        await self._connection.execute(
            update(Notification)
            .where(col(Notification.id) == mail.id)
            .values(
                attempts=col(Notification.attempts) + 1,
                next_attempt_at=func.clock_timestamp() + delay,
                last_error=error,
            )
        )

    async def next_seq(self, order_id: str) -> int:
        """The number of the order's next event of ours.

        An order's mails are finished one after the other (`lock_due`), so no two ask at the same time.
        """
        statement = select(func.max(col(Notification.seq))).where(col(Notification.order_id) == order_id)
        last = (await self._connection.execute(statement)).scalar_one()
        return (last or 0) + 1

    async def finish(
        self, mail: DueMail, status: NotificationStatus, *, error: str | None, event: Event, at: datetime
    ) -> None:
        """Close a mail that is held, as SENT or FAILED, with its event."""
        await self._connection.execute(
            update(Notification)
            .where(col(Notification.id) == mail.id)
            .values(
                status=status.value,
                attempts=col(Notification.attempts) + 1,
                last_error=error,
                sent_at=at if status is NotificationStatus.SENT else None,
                seq=event.seq,
            )
        )
        await add_events(self._connection, Outbox, [event])
