"""The watcher: looks at all that is open from time to time, so that nothing stands still without somebody called.

Each thing that it looks at is a row of `looks`, which is due work like any other: of several order services one looks,
and another goes on where that one was killed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Final

from runtime.backoff import Backoff
from runtime.database import Database
from runtime.due_work import Claimed, DueTable
from runtime.due_worker import DueWorker, Record
from runtime.rows import Value
from services.order.attention.looks import Look

_LEASE: Final = timedelta(seconds=60)
"""Many times what one batch takes."""
_BACKOFF: Final = Backoff(first=1, longest=15)


class DueLook(Value):
    """A look that is due; `after` is where the one before stopped."""

    name: str
    after: str | None


DUE_LOOKS: Final = DueTable(
    table="looks", key="name", pending="true", columns="claimed.name, claimed.after", make=DueLook
)


def watcher(
    database: Database,
    looks: Mapping[str, Look],
    *,
    interval: timedelta,
    poll: float,
) -> DueWorker[DueLook]:
    """What does the looks.

    Args:
        database: where their rows are.
        looks: by the names of their rows.
        interval: from the end of a look to the next.
        poll: seconds from one search for a due look to the next.
    """

    async def process(claimed: Claimed[DueLook]) -> Record:
        after = await looks[claimed.item.name].look(claimed.item.after)
        return partial(_record, database, claimed, after, timedelta(0) if after is not None else interval)

    return DueWorker(
        "looks",
        database=database,
        table=DUE_LOOKS,
        process=process,
        concurrency=len(looks),
        lease=_LEASE,
        backoff=_BACKOFF,
        poll=poll,
    )


async def _record(database: Database, claimed: Claimed[DueLook], after: str | None, pause: timedelta) -> bool:
    """Whether the next batch is due at once."""
    async with database.autocommit() as connection:
        await connection.execute(
            f"""
            UPDATE looks
               SET after = %(after)s, next_attempt_at = now() + %(pause)s, attempts = 0, last_error = NULL
             WHERE {DUE_LOOKS.still_claimed}
            """,  # noqa: S608 - put together from constants
            after=after,
            pause=pause,
            **claimed.parameters,
        )
    return pause <= timedelta(0)
