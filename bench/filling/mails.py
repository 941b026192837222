"""The notification database: mails that were sent, which need their events no more."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Final

from bench.filling.ids import drawn_id
from bench.filling.people import Account
from bench.filling.sheets import Events, Sheet, to_json
from bench.filling.story import FilledOrder, Transition, moment
from domain.events import NOTIFICATION_EVENTS
from domain.notifications import Channel, NotificationStatus
from services.notification.model import TEMPLATE_OF, Template
from services.notification.tables import InboxRow, NotificationRow, Outbox

_RECEIVED_AFTER: Final = timedelta(milliseconds=250)
_SENT_AFTER: Final = timedelta(milliseconds=300)
_PUBLISHED_AFTER: Final = timedelta(milliseconds=500)
_LEASE: Final = timedelta(seconds=60)


class MailDatabase:
    """Its sheets, in the order in which they can be written."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._inbox = Sheet(InboxRow, "ce_id", "received_at")
        self._notifications = Sheet(
            NotificationRow,
            *("id", "order_id", "user_id", "template", "ce_id", "order_seq", "status", "created_at"),
            *("sent_at", "seq", "channel", "attempts", "next_attempt_at"),
        )
        self._events = Events(Outbox, topic=NOTIFICATION_EVENTS, aggregate="notification", random=random)
        self.sheets: Sequence[Sheet] = [self._inbox, self._notifications, self._events]

    def add(self, order: FilledOrder) -> None:
        """The mails about one order."""
        seq = 0
        for arrow in order.history:
            template = TEMPLATE_OF.get(arrow.event)
            if template is not None:
                seq += 1
                self._add_mail(order, arrow, template, seq)

    def add_account(self, account: Account, *, opened_at: datetime, is_recent: bool) -> None:
        """The mail that asks somebody to confirm their address."""
        mail_id = drawn_id(self._random, opened_at + _RECEIVED_AFTER)
        ce_id = f"user:{account.id}:2"
        self._notifications.add(
            *(mail_id, None, account.id, Template.CONFIRM_EMAIL, ce_id, None, NotificationStatus.SENT),
            *(opened_at, opened_at + _SENT_AFTER, 1, Channel.EMAIL, 1, opened_at + _LEASE),
        )
        if is_recent:
            self._inbox.add(ce_id, opened_at)
            self._add_event(mail_id, None, account.id, Template.CONFIRM_EMAIL, 1, opened_at)

    def _add_mail(self, order: FilledOrder, arrow: Transition, template: Template, seq: int) -> None:
        received_at, ce_id = arrow.at + _RECEIVED_AFTER, f"order:{order.id}:{arrow.seq}"
        mail_id = drawn_id(self._random, received_at)
        self._notifications.add(
            *(mail_id, order.id, order.user_id, template, ce_id, arrow.seq, NotificationStatus.SENT),
            *(received_at, arrow.at + _SENT_AFTER, seq, Channel.EMAIL, 1, received_at + _LEASE),
        )
        if order.is_recent:
            self._inbox.add(ce_id, received_at)
            self._add_event(mail_id, order.id, order.user_id, template, seq, arrow.at)

    def _add_event(
        self, mail_id: str, order_id: str | None, user_id: str, template: Template, seq: int, at: datetime
    ) -> None:
        data = {
            "notificationId": mail_id,
            "orderId": order_id or "",
            "template": template,
            "status": NotificationStatus.SENT,
            "at": moment(at + _SENT_AFTER),
            "userId": user_id,
            "channel": Channel.EMAIL,
        }
        key = order_id or user_id
        self._events.add_event(
            "notification.sent",
            of=key,
            seq=seq,
            key=key,
            cause=key,
            data=to_json(data),
            at=at + _SENT_AFTER,
            published_at=at + _PUBLISHED_AFTER,
        )
