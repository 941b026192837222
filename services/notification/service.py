"""Use cases of the notification service: take an event in, send a mail that is due."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import structlog
from google.protobuf.timestamp_pb2 import Timestamp

from domain.events import NOTIFICATION_EVENTS
from domain.ids import new_id
from ordersaga.events.v1.notification_events_pb2 import NotificationChanged
from runtime.database import Database
from runtime.outbox import Event
from runtime.refusal import CallRefused
from runtime.rpc_client import ServiceUnavailable
from services.notification.directory import Directory
from services.notification.errors import MailDelayed, MailRefused
from services.notification.model import DueMail, NotificationStatus, OrderEvent
from services.notification.rendering import render
from services.notification.repository import NotificationRepository
from services.notification.smtp import Smtp, compose, message_id

log = structlog.stdlib.get_logger(__name__)

_FIRST_DELAY: Final = timedelta(seconds=1)
_LONGEST_DELAY: Final = timedelta(minutes=5)
_DOUBLINGS: Final = 10

_EVENT_TYPES: Final = {
    NotificationStatus.SENT: "notification.sent",
    NotificationStatus.FAILED: "notification.failed",
}


class NotificationService:
    """Mails about orders."""

    def __init__(self, database: Database, *, directory: Directory, smtp: Smtp, sender: str) -> None:
        self._database = database
        self._directory = directory
        self._smtp = smtp
        self._sender = sender

    async def receive(self, event: OrderEvent) -> bool:
        """Note that the event's mail is owed, once however often the event comes; whether it is new."""
        async with self._database.transaction() as connection:
            repository = NotificationRepository(connection)
            at = await repository.now()
            if not await repository.receive(event.id, at=at):
                return False
            mail = DueMail(id=new_id(), event=event, attempts=0)
            await repository.add(mail, at=at)
            return True

    async def send_next(self) -> bool:
        """Send the mail that has been due longest; false when none is due.

        The mail's row is locked meanwhile. A process killed between the SMTP relay's yes and the commit sends it
        again, with the same Message-ID.
        """
        async with self._database.transaction() as connection:
            repository = NotificationRepository(connection)
            mail = await repository.lock_due()
            if mail is None:
                return False
            try:
                await self._send(mail)
            except MailRefused as error:
                log.error("mail.failed", notification=mail.id, error=str(error))
                await self._finish(repository, mail, NotificationStatus.FAILED, error=str(error))
            except (MailDelayed, ServiceUnavailable, CallRefused) as error:
                await self._postpone(repository, mail, error=f"{type(error).__name__}: {error}")
            except Exception as error:  # a defect in one mail must not stop the queue; it stays in it, and in the log
                log.exception("mail.defect", notification=mail.id)
                await self._postpone(repository, mail, error=type(error).__name__)
            else:
                log.info("mail.sent", notification=mail.id, template=mail.event.template.value)
                await self._finish(repository, mail, NotificationStatus.SENT, error=None)
            return True

    async def _send(self, mail: DueMail) -> None:
        order = mail.event.data
        recipient = await self._directory.recipient(order.user_id)
        names = await self._directory.product_names(line.product_id for line in order.lines)
        rendered = render(mail.event.template, order, customer=recipient.name, product_names=names)
        await self._smtp.send(compose(rendered, recipient, sender=self._sender, message_id=message_id(mail.event.id)))

    async def _postpone(self, repository: NotificationRepository, mail: DueMail, *, error: str) -> None:
        delay = min(_FIRST_DELAY * 2 ** min(mail.attempts, _DOUBLINGS), _LONGEST_DELAY)
        log.warning("mail.delayed", notification=mail.id, attempts=mail.attempts + 1, error=error)
        await repository.postpone(mail, delay=delay, error=error)

    async def _finish(
        self, repository: NotificationRepository, mail: DueMail, status: NotificationStatus, *, error: str | None
    ) -> None:
        order_id = mail.event.data.order_id
        at = await repository.now()
        finished_at = Timestamp()
        finished_at.FromDatetime(at)
        event = Event(
            topic=NOTIFICATION_EVENTS,
            key=order_id,
            type=_EVENT_TYPES[status],
            aggregate="notification",
            aggregate_id=order_id,
            seq=await repository.next_seq(order_id),
            cause_id=order_id,
            data=NotificationChanged(
                notification_id=mail.id,
                order_id=order_id,
                template=mail.event.template.value,
                status=status.value,
                at=finished_at,
            ),
            at=at,
        )
        await repository.finish(mail, status, error=error, event=event, at=at)
