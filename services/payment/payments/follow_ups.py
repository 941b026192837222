"""Sees to it that each open refund or dispute has its workflow, and that this knows of its last change.

A refund or dispute that changes is due at once, by the statement that changes it, and one that stays open is due again
from time to time, so that a workflow that was ended from outside is missed. So there is nothing to notify at a change,
and nothing to make good when Temporal was away then.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Final

from runtime.backoff import Backoff
from runtime.database import Database
from runtime.due_work import Claimed
from runtime.due_worker import DueWorker, Record
from services.payment.payments.model import FollowUp
from services.payment.payments.repository import DUE_FOLLOW_UPS, FollowedTable, PaymentRepository

_CONCURRENCY: Final = 8
_LEASE: Final = timedelta(seconds=10)
_BACKOFF: Final = Backoff(first=1, longest=60)
# Later and later with its age, for a refund may take days; a look costs Temporal a refused start.
_SHARE_OF_AGE: Final = 10
_SOONEST: Final = timedelta(seconds=10)
_LATEST: Final = timedelta(minutes=1)
"""The longest between two looks, and so about how long one may go whose workflow was ended from outside."""


Ensure = Callable[[FollowUp], Awaitable[None]]
"""Makes sure that the workflow runs, and notifies it of a change; it may be repeated."""


def follow_up_worker(table: FollowedTable, database: Database, ensure: Ensure, *, poll: float) -> DueWorker[FollowUp]:
    """What keeps the workflows of a table's rows going; `poll` is how often changes of other processes are sought."""

    async def process(claimed: Claimed[FollowUp]) -> Record:
        await ensure(claimed.item)
        next_look = min(max(claimed.item.age / _SHARE_OF_AGE, _SOONEST), _LATEST)
        return partial(_record, table, database, claimed, next_look)

    return DueWorker(
        table,
        database=database,
        table=DUE_FOLLOW_UPS[table],
        process=process,
        concurrency=_CONCURRENCY,
        lease=_LEASE,
        backoff=_BACKOFF,
        poll=poll,
    )


async def _record(table: FollowedTable, database: Database, claimed: Claimed[FollowUp], next_look: timedelta) -> bool:
    """What has changed since it was claimed is due already, and its workflow notified of that."""
    async with database.autocommit() as connection:
        await PaymentRepository(connection).set_followed_up(table, claimed, next_look=next_look)
    return False
