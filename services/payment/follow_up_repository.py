"""SQL of what a workflow follows up, refunds and disputes alike. Every method runs on the caller's connection."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from runtime.database import Connection


class Subject(StrEnum):
    """What is followed up; the names of the tables."""

    REFUND = "refunds"
    DISPUTE = "disputes"


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowUp:
    """A refund or dispute from which something still follows."""

    subject: Subject
    id: str
    order_id: str
    version: int
    has_news: bool
    """Whether its workflow has not been woken for this version."""


_OPEN: Final = """
    SELECT 'refunds' AS subject, refunds.id::text, order_id, refunds.version, woken_version, next_look_at, payment_id
      FROM refunds JOIN payments ON payments.id = payment_id WHERE saga_open
    UNION ALL
    SELECT 'disputes', disputes.id, order_id, disputes.version, woken_version, next_look_at, payment_id
      FROM disputes JOIN payments ON payments.id = payment_id WHERE saga_open
"""
_OF_PAYMENT: Final = f"""
    SELECT subject, id, order_id, version, woken_version < version AS has_news
      FROM ({_OPEN}) AS followed WHERE payment_id = %(payment_id)s
"""  # noqa: S608 - put together from constants
_DUE: Final = f"""
    SELECT subject, id, order_id, version, woken_version < version AS has_news
      FROM ({_OPEN}) AS followed WHERE next_look_at <= now() ORDER BY next_look_at LIMIT %(limit)s
"""  # noqa: S608 - put together from constants
_SET_WOKEN: Final = {
    Subject.REFUND: """
        UPDATE refunds SET woken_version = greatest(woken_version, %(version)s) WHERE id = %(id)s::uuid
    """,
    Subject.DISPUTE: """
        UPDATE disputes SET woken_version = greatest(woken_version, %(version)s) WHERE id = %(id)s
    """,
}
# Later and later with its age, for a refund may take days; a look costs Temporal a refused start.
_LOOK_LATER: Final = {
    Subject.REFUND: """
        UPDATE refunds
           SET next_look_at = now() + least(greatest((now() - created_at) / 10, %(soonest)s), %(latest)s)
         WHERE id = %(id)s::uuid
    """,
    Subject.DISPUTE: """
        UPDATE disputes
           SET next_look_at = now() + least(greatest((now() - created_at) / 10, %(soonest)s), %(latest)s)
         WHERE id = %(id)s
    """,
}


class FollowUpRepository:
    """Refunds and disputes as their workflows have them, on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def find_of_payment(self, payment_id: str) -> list[FollowUp]:
        """What of a payment is still to be followed up."""
        return await self._connection.fetch_all(_to_follow_up, _OF_PAYMENT, payment_id=payment_id)

    async def find_due(self, *, limit: int) -> list[FollowUp]:
        """What has to be looked at again, the longest due first."""
        return await self._connection.fetch_all(_to_follow_up, _DUE, limit=limit)

    async def set_woken(self, subject: Subject, subject_id: str, *, version: int) -> None:
        """Note that the workflow knows of this version."""
        await self._connection.execute(_SET_WOKEN[subject], id=subject_id, version=version)

    async def look_later(self, follow_up: FollowUp, *, soonest: timedelta, latest: timedelta) -> None:
        """Look at it again after a tenth of its age."""
        await self._connection.execute(_LOOK_LATER[follow_up.subject], id=follow_up.id, soonest=soonest, latest=latest)


def _to_follow_up(*, subject: str, **others: Any) -> FollowUp:
    return FollowUp(subject=Subject(subject), **others)
