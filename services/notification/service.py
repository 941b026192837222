"""Use cases of the notification service: take in what is owed, send what is due."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from google.protobuf.timestamp_pb2 import Timestamp

from domain.events import NOTIFICATION_EVENTS
from domain.ids import new_id
from domain.notifications import Channel, NotificationStatus
from ordersaga.events.v1.notification_events_pb2 import NotificationChanged
from runtime.database import Database, DatabaseAway
from runtime.metrics import MESSAGES
from runtime.outbox import Event
from runtime.refusal import CallRefused
from runtime.rpc_client import ServiceUnavailable
from services.notification.directory import Directory
from services.notification.errors import MessageDelayed, MessageRefused, NotificationDiffers, SmsNotConfigured
from services.notification.messenger import Message, Messenger, Recipient
from services.notification.model import DueNotification, OrderEvent, StoredNotification, WrittenMessage
from services.notification.rendering import render
from services.notification.repository import NotificationRepository, NumberTaken

log = structlog.stdlib.get_logger(__name__)

_FIRST_DELAY: Final = timedelta(seconds=1)
_LONGEST_DELAY: Final = timedelta(minutes=5)
_DOUBLINGS: Final = 10
_LEASE: Final = timedelta(seconds=60)
"""How long what is being sent is nobody else's; what a killed process was sending is due again thereafter."""
_SEND_SECONDS: Final = 50.0
"""When an attempt is broken off, counted from before the claim: no attempt of a running process outlives its lease,
whatever the limits of the single calls (Twilio, gRPC) are set to, and there is time left to write down how it ended."""
_REPEAT_SECONDS: Final = 0.5

_EVENT_TYPES: Final = {
    NotificationStatus.SENT: "notification.sent",
    NotificationStatus.FAILED: "notification.failed",
}


class NotificationService:
    """Mails about orders, and messages whose text is given. Without a messenger for SMS there are none."""

    def __init__(self, database: Database, *, directory: Directory, mail: Messenger, sms: Messenger | None) -> None:
        self._database = database
        self._directory = directory
        self._messengers: Mapping[Channel, Messenger | None] = {Channel.EMAIL: mail, Channel.SMS: sms}

    async def receive(self, event: OrderEvent) -> bool:
        """Note that the event's mail is owed, once however often the event comes; whether it is new."""
        async with self._database.autocommit() as connection:
            return await NotificationRepository(connection).receive(new_id(), event)

    async def queue(self, notification_id: str, message: WrittenMessage) -> NotificationStatus:
        """Note that the message is owed, once per id; what became of it so far.

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

    async def send_next(self) -> bool:
        """Send what has been due longest; whether more may be due.

        It is claimed meanwhile: nobody else sends it before the lease ends, and no lock or connection is held. When the
        caller is cancelled, the claim is given back. What a process was sending that is killed before the last commit
        is sent again after the lease, also if the other side had taken it; a repeated mail has the same Message-ID.
        """
        asked_at = asyncio.get_running_loop().time()
        async with self._database.autocommit() as connection:
            due = await NotificationRepository(connection).claim_due(lease=_LEASE)
        if due is None:
            return False
        try:
            status, error = await self._attempt(due, give_up_at=asked_at + _SEND_SECONDS)
            MESSAGES.labels(due.channel.value, status.value).inc()
            return await self._write_down(due, status, error=error, until=asked_at + _LEASE.total_seconds())
        except asyncio.CancelledError:
            await self._give_back(due)
            raise

    async def _find(self, notification_id: str) -> StoredNotification | None:
        async with self._database.autocommit() as connection:
            return await NotificationRepository(connection).find(notification_id)

    async def _attempt(self, due: DueNotification, *, give_up_at: float) -> tuple[NotificationStatus, str | None]:
        """What became of it, PENDING if another attempt is to be made, and why."""
        try:
            async with asyncio.timeout_at(give_up_at):
                await self._send(due)
        except MessageRefused as error:
            log.error("notification.failed", notification=due.id, channel=due.channel.value, error=str(error))
            return NotificationStatus.FAILED, str(error)
        except (MessageDelayed, ServiceUnavailable, CallRefused, TimeoutError) as error:
            return NotificationStatus.PENDING, f"{type(error).__name__}: {error}"
        except Exception as error:  # a defect in one must not stop the queue; it stays in it, and in the log
            log.exception("notification.defect", notification=due.id)
            return NotificationStatus.PENDING, type(error).__name__
        log.info("notification.sent", notification=due.id, channel=due.channel.value)
        return NotificationStatus.SENT, None

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
            self._directory.product_names(line.product_id for line in order.lines),
        )
        mail = render(event.template, order, customer=recipient.name, product_names=names)
        return Message(id=event.id, recipient=recipient, subject=mail.subject, text=mail.text, html=mail.html)

    async def _write_down(
        self, due: DueNotification, status: NotificationStatus, *, error: str | None, until: float
    ) -> bool:
        """Write down what became of it; whether more may be due.

        Repeated while the database is away and the claim lasts, since what is not written down is sent again. If the
        commit's answer was all that was lost, the repeat finds no claim, and changes nothing.
        """
        while True:
            try:
                if status is NotificationStatus.PENDING:
                    return await self._postpone(due, error=error)
                return await self._finish(due, status, error=error)
            except DatabaseAway as problem:
                if asyncio.get_running_loop().time() >= until:
                    raise
                log.warning("notification.not_written_down", notification=due.id, error=str(problem))
                await asyncio.sleep(_REPEAT_SECONDS)

    async def _postpone(self, due: DueNotification, *, error: str | None) -> bool:
        delay = min(_FIRST_DELAY * 2 ** min(due.attempts, _DOUBLINGS), _LONGEST_DELAY)
        log.warning("notification.delayed", notification=due.id, attempts=due.attempts + 1, error=error)
        async with self._database.autocommit() as connection:
            if not await NotificationRepository(connection).postpone(due, delay=delay, error=error):
                log.warning("notification.claim_lost", notification=due.id)
        return True

    async def _give_back(self, due: DueNotification) -> None:
        try:
            async with self._database.autocommit() as connection:
                await NotificationRepository(connection).give_back(due)
        except DatabaseAway as error:
            log.warning("notification.not_given_back", notification=due.id, error=str(error))

    async def _finish(self, due: DueNotification, status: NotificationStatus, *, error: str | None) -> bool:
        at = datetime.now(UTC)
        seq = due.next_seq
        async with self._database.autocommit() as connection:
            repository = NotificationRepository(connection)
            while True:
                event = _event_of(due, status, seq=seq, at=at)
                try:
                    more = await repository.finish(due, status, error=error, event=event, at=at)
                except NumberTaken:
                    seq = await repository.next_seq(due)  # a higher one: whoever took this one has committed
                    continue
                if more is None:
                    log.warning("notification.claim_lost", notification=due.id)
                return more is not False


def _event_of(due: DueNotification, status: NotificationStatus, *, seq: int, at: datetime) -> Event:
    finished_at = Timestamp()
    finished_at.FromDatetime(at)
    return Event(
        topic=NOTIFICATION_EVENTS,
        key=due.key,
        type=_EVENT_TYPES[status],
        aggregate="notification",
        aggregate_id=due.key,
        seq=seq,
        cause_id=due.key,
        data=NotificationChanged(
            notification_id=due.id,
            order_id=due.order_id or "",
            template=due.content.template.value if isinstance(due.content, OrderEvent) else "",
            status=status.value,
            at=finished_at,
            user_id=due.user_id,
            channel=due.channel.value,
        ),
        at=at,
    )
