"""Use cases of the notification service: take in what is to be sent, send what is due."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

import structlog
from google.protobuf.json_format import MessageToJson

from domain.ids import new_id
from domain.notifications import Channel, NotificationStatus
from ordersaga.events.v1.order_events_pb2 import OrderTransitioned
from runtime.database import Database
from runtime.due_work import NO_LEASE, Claimed, Stored
from runtime.due_worker import Record
from runtime.metrics import MESSAGES
from runtime.protos import from_timestamp
from runtime.refusal import Unavailable
from services.notification.directory import Directory, Guest
from services.notification.errors import (
    MessageDelayed,
    MessageNotNeeded,
    MessageRefused,
    NotificationDiffers,
    SmsNotConfigured,
)
from services.notification.messages import to_event
from services.notification.messenger import Message, Messenger, Recipient
from services.notification.model import (
    WITH_LINK,
    AccountEvent,
    DueNotification,
    OrderEvent,
    StoredNotification,
    Template,
    WrittenMessage,
    is_first_to_guest,
)
from services.notification.rendering import OrderLink, render, render_account
from services.notification.repository import NotificationRepository, NumberTaken

log = structlog.stdlib.get_logger(__name__)

WITHHELD_FOR: Final = timedelta(days=7)
"""How long a mail waits for its address to be confirmed."""
_LOOK_AGAIN: Final = timedelta(seconds=10)
_LOOK_SELDOM: Final = timedelta(hours=1)
_TO_ANYBODY: Final = frozenset({Template.CONFIRM_EMAIL, Template.CHANGE_EMAIL})


class _Unconfirmed(Exception):
    """The customer has not confirmed their address yet."""


class NotificationService:
    """Mails about orders and accounts, and messages whose text is given.

    Args:
        database: the notification database.
        directory: looks people, links and products up.
        mail: takes mails.
        sms: takes SMS; without one there are none.
        account_page: the shop's page that takes the links of mails; without one a mail shows the link's token.
        order_page: likewise of those by which guests follow their orders.
        withholds: whether mails about orders wait until the customer's address is confirmed.
    """

    def __init__(
        self,
        database: Database,
        *,
        directory: Directory,
        mail: Messenger,
        sms: Messenger | None,
        account_page: str | None = None,
        order_page: str | None = None,
        withholds: bool = True,
    ) -> None:
        self._database = database
        self._account_page = account_page
        self._order_page = order_page
        self._withholds = withholds
        self._directory = directory
        self._messengers: Mapping[Channel, Messenger | None] = {Channel.EMAIL: mail, Channel.SMS: sms}

    async def receive(
        self, event: OrderEvent | AccountEvent, claims: int = 0, lease: timedelta = NO_LEASE
    ) -> Stored[DueNotification]:
        """Let the event's mail be due, once however often the event comes; it may be claimed, see `DueWorker.add`."""
        async with self._database.autocommit() as connection:
            return await NotificationRepository(connection).receive(new_id(), event, claims=claims, lease=lease)

    async def send_guest_link(self, request_id: str, order: OrderTransitioned) -> None:
        """Let a mail be due to the guest who placed the order, with its link, once per request."""
        text = MessageToJson(order, indent=None)
        # 0: it waits for no other mail of the order
        await self.receive(
            OrderEvent(id=f"guest-link:{request_id}", seq=0, template=Template.ORDER_LINK, data=order, text=text)
        )

    async def release(self, user_id: str) -> bool:
        """Let what waited for the user to confirm their address be sent; whether there is any."""
        async with self._database.autocommit() as connection:
            return await NotificationRepository(connection).make_withheld_due(user_id)

    async def erase(self, user_id: str) -> None:
        """Forget what waits to be said to a user who was erased: it ends, unsent."""
        async with self._database.autocommit() as connection:
            repository = NotificationRepository(connection)
            await repository.erase(user_id)
            await repository.make_withheld_due(user_id)

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
            What records that it is SENT, FAILED or withheld.

        Raises:
            Unavailable: it has to be tried again.
        """
        due = claimed.item
        status, error, dismissed = NotificationStatus.PENDING, None, None
        try:
            await self._send(due)
            status = NotificationStatus.SENT
            log.info("notification.sent", notification=due.id, channel=due.channel.value)
        except _Unconfirmed:
            return partial(self._withhold, claimed)
        except MessageNotNeeded as why:
            status, error, dismissed = NotificationStatus.FAILED, str(why), f"by itself: {why}"
            log.info("notification.not_needed", notification=due.id, channel=due.channel.value, why=str(why))
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
        return partial(self._finish, claimed, status, error=error, dismissed=dismissed, at=datetime.now(UTC))

    async def _find(self, notification_id: str) -> StoredNotification | None:
        async with self._database.autocommit() as connection:
            return await NotificationRepository(connection).find(notification_id)

    async def _send(self, due: DueNotification) -> None:
        messenger = self._messengers[due.channel]
        if messenger is None:
            raise MessageDelayed("SMS are no longer configured")
        match due.content:
            case WrittenMessage() as message:
                await messenger.send(await self._write(due.id, message))
            case AccountEvent() as event:
                await messenger.send(await self._render_account(event))
            case OrderEvent() as event:
                await messenger.send(await self._render(event, since=due.created_at))

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

    async def _render_account(self, event: AccountEvent) -> Message:
        """A mail about an account. One to an address that nobody confirmed yet does not say what its sender is called:
        anybody may have opened the account."""
        link = None
        if event.template in WITH_LINK:
            link = await self._directory.issue_link(event.data.link_id)
            recipient = link.recipient
        elif event.template is Template.EMAIL_CHANGED:
            recipient = await self._directory.replaced_address(event.data.link_id)
        else:
            recipient = await self._directory.recipient(event.data.user_id)
        if event.template in _TO_ANYBODY:
            recipient = replace(recipient, name="")
        mail = render_account(
            event.template,
            at=from_timestamp(event.data.at),
            customer=recipient.name,
            token="" if link is None else link.token,
            expires_at=None if link is None else link.expires_at,
            page=self._account_page,
        )
        return Message(id=event.id, recipient=recipient, subject=mail.subject, text=mail.text, html=mail.html)

    async def _render(self, event: OrderEvent, *, since: datetime) -> Message:
        order = event.data
        guest, names = await asyncio.gather(
            self._find_guest(event) if order.is_guest else self._find_customer(order.user_id, since=since),
            self._directory.product_names(line.product_id for line in order.lines if not line.name),
        )
        mail = render(
            event.template,
            order,
            customer=guest.recipient.name,
            product_names=names,
            link=OrderLink(token=guest.token, page=self._order_page) if guest.token else None,
        )
        return Message(id=event.id, recipient=guest.recipient, subject=mail.subject, text=mail.text, html=mail.html)

    async def _find_customer(self, user_id: str, *, since: datetime) -> Guest:
        """Whom a mail goes to that waits since then; unless settings say otherwise, only a confirmed address.

        Raises:
            MessageNotNeeded: they never did.
            _Unconfirmed: they have not yet.
        """
        customer = await self._directory.customer(user_id)
        if self._withholds and not customer.email_confirmed:
            if datetime.now(UTC) - since > WITHHELD_FOR:
                raise MessageNotNeeded("the address was never confirmed")
            raise _Unconfirmed
        return Guest(recipient=customer.recipient)

    async def _find_guest(self, event: OrderEvent) -> Guest:
        """As `Directory.guest`; without the name that came with an order which nobody has paid: it may be anybody's."""
        guest = await self._directory.guest(event.data.order_id)
        if event.template is Template.ORDER_LINK or is_first_to_guest(event.template, event.data):
            return replace(guest, recipient=replace(guest.recipient, name=""))
        return guest

    async def _withhold(self, claimed: Claimed[DueNotification]) -> bool:
        """Let it wait; nobody else becomes due by that. The longer it has waited, the seldomer it is looked at: the
        event of the confirmation has it sent at once."""
        waited = datetime.now(UTC) - claimed.item.created_at
        async with self._database.autocommit() as connection:
            repository = NotificationRepository(connection)
            if not await repository.withhold(claimed, delay=min(max(waited, _LOOK_AGAIN), _LOOK_SELDOM)):
                log.warning("notification.claim_lost", notification=claimed.item.id)
        return False

    async def _finish(
        self,
        claimed: Claimed[DueNotification],
        status: NotificationStatus,
        *,
        error: str | None,
        dismissed: str | None,
        at: datetime,
    ) -> bool:
        """Record what became of it; whether others are due."""
        due, seq = claimed.item, claimed.item.next_seq
        async with self._database.autocommit() as connection:
            repository = NotificationRepository(connection)
            while True:
                event = to_event(due, status, seq=seq, at=at)
                try:
                    others_due = await repository.finish(
                        claimed, status, error=error, dismissed=dismissed, event=event, at=at
                    )
                except NumberTaken:
                    seq = await repository.next_seq(due.id)  # a higher one: whoever took this one has committed
                    continue
                if others_due is None:
                    log.warning("notification.claim_lost", notification=due.id)
                return others_due is not False
