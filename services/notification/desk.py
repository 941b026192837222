"""What a person does about a notification that does not get out: try it at once, or leave it alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from domain.notifications import NotificationStatus
from runtime.database import Database
from runtime.polling import poll_until
from services.notification.errors import NotificationDone, NotificationNotFound
from services.notification.model import StoredNotification
from services.notification.repository import NotificationRepository

_WAIT: Final = 3.0
"""How long whoever lets a notification be sent waits for what comes of it, seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetriedNotification:
    """What came of a retry, in words; `done` is whether it was sent."""

    done: bool
    outcome: str


class NotificationDesk:
    """Where operators act on notifications.

    Args:
        database: the notification database.
        on_due: called when a notification has become due.
    """

    def __init__(self, database: Database, *, on_due: Callable[[], None]) -> None:
        self._database = database
        self._on_due = on_due

    async def retry(self, notification_id: str) -> RetriedNotification:
        """Let what waits, or a mail about an order that failed, be sent now, and wait a little for what comes of it.

        Raises:
            NotificationNotFound: there is no such notification.
            NotificationDone: it was sent; or it failed, and its text, which was given, is forgotten.
        """
        async with self._database.autocommit() as connection:
            is_due = await NotificationRepository(connection).make_due(notification_id)
        if not is_due:
            raise _not_retried(notification_id, await self._get(notification_id))
        self._on_due()
        return _outcome(
            await poll_until(lambda stored: stored.has_ended, lambda: self._get(notification_id), wait=_WAIT)
        )

    async def dismiss(self, notification_id: str, *, note: str) -> None:
        """Leave alone what failed: a person has dealt with it.

        Args:
            notification_id: which one.
            note: who, and why; kept with it.

        Raises:
            NotificationNotFound: there is no such notification.
            NotificationDone: it has not failed, or is left alone already.
        """
        async with self._database.autocommit() as connection:
            is_dismissed = await NotificationRepository(connection).dismiss(notification_id, note=note)
        if not is_dismissed:
            raise _not_dismissed(notification_id, await self._get(notification_id))

    async def _get(self, notification_id: str) -> StoredNotification:
        async with self._database.autocommit() as connection:
            stored = await NotificationRepository(connection).find(notification_id)
        if stored is None:
            raise NotificationNotFound(notification_id)
        return stored


def _outcome(stored: StoredNotification) -> RetriedNotification:
    match stored.status:
        case NotificationStatus.SENT:
            return RetriedNotification(done=True, outcome="it is sent")
        case NotificationStatus.FAILED:
            return RetriedNotification(done=False, outcome=f"it failed again: {stored.last_error}")
        case NotificationStatus.PENDING if stored.follows:
            return RetriedNotification(done=False, outcome="it waits for an earlier mail of its order")
        case NotificationStatus.PENDING if stored.last_error is not None:
            return RetriedNotification(done=False, outcome=f"it waits again, and is tried again: {stored.last_error}")
        case NotificationStatus.PENDING:
            return RetriedNotification(done=False, outcome="it is not sent yet, and goes on by itself")


def _not_retried(notification_id: str, stored: StoredNotification) -> NotificationDone:
    if stored.status is NotificationStatus.SENT:
        return NotificationDone(notification_id, "is sent")
    return NotificationDone(notification_id, "failed, and its text is forgotten: it has to be written again")


def _not_dismissed(notification_id: str, stored: StoredNotification) -> NotificationDone:
    match stored.status:
        case NotificationStatus.SENT:
            return NotificationDone(notification_id, "is sent")
        case NotificationStatus.PENDING:
            return NotificationDone(notification_id, "has not failed: it is tried again by itself")
        case NotificationStatus.FAILED:
            return NotificationDone(notification_id, f"is left alone already: {stored.dismissed}")
