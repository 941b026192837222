"""What the notification service tells people on call: what does not get out, and what was sent about an order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from domain.concerns import CONSUMER_STEP, DEAD_LETTERS_STEP, FLAGGED_STEP, WAITING_STEP, ConcernKind
from domain.notifications import NotificationStatus
from runtime.clock import utc_now
from runtime.database import Database
from runtime.identity import Part
from runtime.kafka_standing import Standing
from runtime.on_call import (
    Concern,
    OrderRecord,
    PublishedEvent,
    Section,
    TimelineEntry,
    events_section,
    read_events,
)
from services.notification.dead_letters.repository import DeadLetterRepository
from services.notification.repository import FIRST_OF_ITS_ORDER

AskConsumer = Callable[[], Awaitable[Standing]]
"""Says whether the consumer of order events moves."""

WAITING: Final = f"""
    SELECT id::text AS subject_id, order_id, template, channel, created_at AS since, attempts, last_error
      FROM notifications
     WHERE status = 'PENDING' AND NOT withheld
       AND created_at < now() - %(older_than)s::interval AND {FIRST_OF_ITS_ORDER}
     ORDER BY created_at LIMIT %(most)s
"""  # noqa: S608 - put together from constants
FAILED: Final = """
    SELECT id::text AS subject_id, order_id, template, channel, created_at AS since, attempts, last_error
      FROM notifications WHERE status = 'FAILED' AND dismissed IS NULL ORDER BY created_at LIMIT %(most)s
"""
_OF_ORDER: Final = """
    SELECT id, user_id, template, channel, status, attempts, last_error, dismissed, created_at, sent_at, failed_at, seq
      FROM notifications WHERE order_id = %(order_id)s ORDER BY order_seq
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderMail:
    """A mail about an order, and what became of it; no address is kept with it."""

    id: str
    user_id: str
    template: str
    channel: str
    status: str
    attempts: int
    last_error: str | None
    dismissed: str | None
    created_at: datetime
    sent_at: datetime | None
    failed_at: datetime | None
    seq: int | None


class NotificationOnCall:
    """See `runtime.on_call.OnCall`.

    Args:
        database: the notification database.
        ask_consumer: asks the consumer of order events.
    """

    def __init__(self, database: Database, *, ask_consumer: AskConsumer) -> None:
        self._database = database
        self._ask_consumer = ask_consumer

    async def find_concerns(self, *, older_than: timedelta, most: int) -> list[Concern]:
        """What waits to be sent, but for mails behind one that waits; what failed; a consumer that stands still, and
        what it refused."""
        async with self._database.autocommit() as connection:
            found = await connection.fetch_all(
                partial(_to_concern, WAITING_STEP), WAITING, older_than=older_than, most=most + 1
            )
            found += await connection.fetch_all(partial(_to_concern, FLAGGED_STEP), FAILED, most=most + 1)
            refused = await DeadLetterRepository(connection).count_open()
        if refused.since is not None:
            found.append(_to_dead_letters(refused.count, refused.since))
        standing = await self._ask_consumer()
        since = standing.stands_since
        return found if since is None or utc_now() - since <= older_than else [*found, _to_standstill(standing, since)]

    async def describe_order(self, order_id: str) -> OrderRecord | None:
        """The mails about the order."""
        async with self._database.autocommit() as connection:
            mails = await connection.fetch_all(OrderMail, _OF_ORDER, order_id=order_id)
            if not mails:
                return None
            last = max((mail.seq or 0 for mail in mails), default=0)
            events = await read_events(connection, (_event_id(order_id, seq) for seq in range(1, last + 1)))
        return OrderRecord(
            user_id=mails[0].user_id,
            sections=[_section(mails), events_section(events)],
            timeline=list(_timeline(order_id, mails, events)),
        )


def _to_dead_letters(refused: int, since: datetime) -> Concern:
    return Concern(
        kind=ConcernKind.PART,
        subject_id=Part.NOTIFICATION.value,
        step=DEAD_LETTERS_STEP,
        cause=f"{refused:,} record(s) from Kafka were refused and wait for a person",
        since=since,
    )


def _to_standstill(standing: Standing, since: datetime) -> Concern:
    waiting = (
        "how many records wait is not known" if standing.waiting is None else f"{standing.waiting:,} record(s) wait"
    )
    return Concern(
        kind=ConcernKind.PART,
        subject_id=Part.NOTIFICATION.value,
        step=CONSUMER_STEP,
        cause=f"the consumer {standing.group} does not move, and {waiting}",
        since=since,
        last_error=standing.problem or standing.error or None,
    )


def _event_id(order_id: str, seq: int | None) -> str:
    return f"notification:{order_id}:{seq}"


def _to_concern(
    step: str,
    /,
    *,
    subject_id: str,
    order_id: str | None,
    template: str | None,
    channel: str,
    since: datetime,
    attempts: int,
    last_error: str | None,
) -> Concern:
    cannot = "can never be sent as things stand" if step == FLAGGED_STEP else "is not sent"
    return Concern(
        kind=ConcernKind.MAIL,
        subject_id=subject_id,
        step=step,
        order_id=order_id,
        cause=f"{_what(template, channel)} {cannot}",
        since=since,
        attempts=attempts,
        last_error=last_error,
    )


def _what(template: str | None, channel: str) -> str:
    written = "an SMS" if channel == "sms" else "a mail"
    return f"{written} whose text was given" if template is None else f"the mail {template.replace('_', ' ')}"


def _section(mails: Sequence[OrderMail]) -> Section:
    return Section(
        "mails",
        ("mail", "template", "channel", "status", "attempts", "last_error", "dismissed", "created_at", "sent_at"),
        [
            (
                mail.id,
                mail.template,
                mail.channel,
                mail.status,
                mail.attempts,
                mail.last_error,
                mail.dismissed,
                mail.created_at,
                mail.sent_at,
            )
            for mail in mails
        ],
    )


def _timeline(order_id: str, mails: Sequence[OrderMail], events: Sequence[PublishedEvent]) -> Iterator[TimelineEntry]:
    """What was sent, or failed for good; why it failed is for operators, in the table."""
    ended = {event.ce_id: event.at for event in events}
    for mail in mails:
        what = _what(mail.template, mail.channel)
        if mail.sent_at is not None:
            yield TimelineEntry(at=mail.sent_at, type="mail.sent", text=f"{what} was sent", for_customer=True)
        elif mail.status == NotificationStatus.FAILED:
            at = mail.failed_at or ended.get(_event_id(order_id, mail.seq)) or mail.created_at
            yield TimelineEntry(at=at, type="mail.failed", text=f"{what} could not be sent", for_customer=True)
