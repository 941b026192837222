"""What of the notification database is no history, and for how long it is kept.

That a mail was sent, or failed, stays, without what it said and to which address. It is also why no mail is sent twice
about one event, however often the event comes: each mail has its event's id, which is unique.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final, LiteralString

from runtime.outbox import outbox_rule
from runtime.retention import Rule, delete_by_age
from runtime.settings import Settings

_BEYOND_TOPICS: Final = timedelta(days=7)
"""How much longer than topics keep an event we know it: topics forget late, and clocks differ."""
_LETTERS: Final = timedelta(days=90)
"""How long dead letters are kept after a person was done with them."""

_CLOSED_LETTERS: Final[LiteralString] = """
    WITH old AS MATERIALIZED (
        SELECT id FROM dead_letters WHERE status <> 'OPEN' AND closed_at < now() - %(kept)s
         ORDER BY closed_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ),
    actions AS (
        DELETE FROM dead_letter_actions WHERE dead_letter_id = ANY(ARRAY(SELECT id FROM old))
    ),
    gone AS (
        DELETE FROM dead_letters WHERE id = ANY(ARRAY(SELECT id FROM old)) RETURNING closed_at
    )
    SELECT count(*) AS deleted, max(closed_at) AS horizon, count(*) = %(limit)s AS more, NULL AS after FROM gone
"""


def rules(settings: Settings) -> Sequence[Rule]:
    """Of the tables from which rows are deleted.

    The inbox and closed dead letters outlast the topics: whoever reads a topic from its beginning meets no event that
    we have forgotten. A letter is deleted with what people did about it; one that is open stays. What mails were made
    from is forgotten when they are sent, and here for those that an older release has sent.
    """
    topics = timedelta(seconds=settings.kafka_retention) + _BEYOND_TOPICS
    return [
        outbox_rule(timedelta(seconds=settings.outbox_retention)),
        delete_by_age("inbox", at="received_at", kept=topics),
        Rule(name="dead_letters", table="dead_letters", kept=max(_LETTERS, topics), statement=_CLOSED_LETTERS),
        delete_by_age(
            "notifications",
            at="sent_at",
            among="status = 'SENT' AND event IS NOT NULL",
            change="UPDATE notifications SET event = NULL",
            kept=timedelta(0),
        ),
    ]
