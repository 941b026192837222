"""Use cases of the notification service: take in what is to be sent, send what is due."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial

import structlog

from domain.ids import new_id
from domain.notifications import Channel, NotificationStatus
from runtime.database import Database
from runtime.due_work import Claimed
from runtime.due_worker import Record
from runtime.metrics import MESSAGES
from runtime.refusal import Unavailable
from services.notification.directory import Directory
from services.notification.errors import MessageDelayed, MessageRefused, NotificationDiffers, SmsNotConfigured
from services.notification.messages import to_event
from services.notification.messenger import Message, Messenger, Recipient
from services.notification.model import DueNotification, OrderEvent, StoredNotification, WrittenMessage
from services.notification.rendering import render
from services.notification.repository import NotificationRepository, NumberTaken

log = structlog.stdlib.get_logger(__name__)


class NotificationService:
    """Mails about orders, and messages whose text is given. Without a messenger for SMS there are none."""

    def __init__(self, database: Database, *, directory: Directory, mail: Messenger, sms: Messenger | None) -> None:
        self._database = database
        self._directory = directory
        self._messengers: Mapping[Channel, Messenger | None] = {Channel.EMAIL: mail, Channel.SMS: sms}

    async def receive(self, event: OrderEvent) -> bool:
        """Let the event's mail be due, once however often the event comes; whether it is new."""
        async with self._database.autocommit() as connection:
            return await NotificationRepository(connection).receive(new_id(), event)

    async def queue(self, notification_id: str, message: WrittenMessage) -> NotificationStatus:
        """Let the message be due, once per id; what became of it so far.

        Raises:
            SmsNotConfigured: it is an SMS, and there is no messenger for these.
            UserNotFound: there is no such account.
            NotificationDiffers: the id stands for something else.
            Unavailable: the user service is away.
        """
        if self._messengers[message.channel] is None:
            raise SmsNotConfigured
        stored = await self._find(notification_id)
        if stored is None:
            await self._directory.require_user(message.user_id)
            async with self._database.autocommit() as connection:
                if await NotificationRepository(connection).add_written(notification_id, message):
                    return NotificationStatus.PENDING
            stored = await self._find(notification_id)
        if stored is None or stored.fingerprint != message.fingerprint:
            raise NotificationDiffers(notification_id)
        return stored.status

    async def process(self, claimed: Claimed[DueNotification]) -> Record:
        """Send a due notification; see `runtime.due_worker`.

        What a process was sending that is killed before the last commit is sent again after the lease, also if the
        other side had taken it; a repeated mail has the same Message-ID.

        Returns:
            What records that it is SENT or FAILED.

        Raises:
            Unavailable: it has to be tried again.
        """
        due = claimed.item
        status, error = NotificationStatus.PENDING, None
        try:
            await self._send(due)
            status = NotificationStatus.SENT
            log.info("notification.sent", notification=due.id, channel=due.channel.value)
        except MessageRefused as refused:
            status, error = NotificationStatus.FAILED, str(refused)
            log.error("notification.failed", notification=due.id, channel=due.channel.value, error=error)
        except Unavailable:
            raise
        except Exception as defect:  # its text, which may quote an address, must not get into the table
            log.exception("notification.defect", notification=due.id)
            raise MessageDelayed(type(defect).__name__) from None
        finally:
            MESSAGES.labels(due.channel.value, status.value).inc()
        return partial(self._finish, claimed, status, error=error, at=datetime.now(UTC))

    async def _find(self, notification_id: str) -> StoredNotification | None:
        async with self._database.autocommit() as connection:
            return await NotificationRepository(connection).find(notification_id)

    async def _send(self, due: DueNotification) -> None:
        messenger = self._messengers[due.channel]
        if messenger is None:
            raise MessageDelayed("SMS are no longer configured")
        if isinstance(due.content, WrittenMessage):
            await messenger.send(await self._write(due.id, due.content))
        else:
            await messenger.send(await self._render(due.content))

    async def _write(self, notification_id: str, message: WrittenMessage) -> Message:
        if message.recipient is None:
            recipient = await self._directory.recipient(message.user_id)
        else:
            recipient = Recipient(name="", address=message.recipient)
        return Message(
            id=f"notification:{notification_id}",
            recipient=recipient,
            subject=message.subject,
            text=message.body,
            html=None,
        )

    async def _render(self, event: OrderEvent) -> Message:
        order = event.data
        recipient, names = await asyncio.gather(
            self._directory.recipient(order.user_id),
            self._directory.product_names(line.product_id for line in order.lines if not line.name),
        )
        mail = render(event.template, order, customer=recipient.name, product_names=names)
        return Message(id=event.id, recipient=recipient, subject=mail.subject, text=mail.text, html=mail.html)

    async def _finish(
        self, claimed: Claimed[DueNotification], status: NotificationStatus, *, error: str | None, at: datetime
    ) -> bool:
        """Record what became of it; whether others are due."""
        due, seq = claimed.item, claimed.item.next_seq
        async with self._database.autocommit() as connection:
            repository = NotificationRepository(connection)
            while True:
                event = to_event(due, status, seq=seq, at=at)
                try:
                    others_due = await repository.finish(claimed, status, error=error, event=event, at=at)
                except NumberTaken:
                    seq = await repository.next_seq(due.id)  # a higher one: whoever took this one has committed
                    continue
                if others_due is None:
                    log.warning("notification.claim_lost", notification=due.id)
                return others_due is not False
