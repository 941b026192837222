"""The transactional outbox: an event is a row, written in the transaction of the change that it reports.

The relay (`workers/relay/`) publishes the rows to Kafka. For one key, ids rise with the order of the changes only if
the row is added after the change has locked its aggregate; every repository of ours does it in that order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, LiteralString

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from sqlalchemy import BigInteger, Identity, Index, Text
from sqlmodel import Field, SQLModel

from runtime.database import Connection, encode_rows, timestamp
from runtime.retention import Rule, delete_by_key
from runtime.rows import columns, recordset
from runtime.tracing import event_traceparent, sql_traceparent

OUTBOX_CHANNEL: Final = "outbox"


class OutboxColumns(SQLModel):
    """The columns of every service's outbox table."""

    id: int | None = Field(default=None, sa_type=BigInteger, primary_key=True, sa_column_args=[Identity(always=True)])
    topic: str = Field(sa_type=Text)
    key: str = Field(sa_type=Text)
    ce_id: str = Field(sa_type=Text, unique=True)
    ce_type: str = Field(sa_type=Text)
    ce_seq: int = Field(sa_type=BigInteger)
    data: str = Field(sa_type=Text)
    traceparent: str = Field(sa_type=Text)
    at: datetime = timestamp()
    published_at: datetime | None = timestamp(default=None, nullable=True)


_NOT_WRITTEN: Final = ("id", "published_at")
_WRITTEN: Final = columns(OutboxColumns, without=_NOT_WRITTEN)
_RECORDSET: Final = recordset(OutboxColumns, alias="event", without=_NOT_WRITTEN)


class RelayLeaseColumns(SQLModel):
    """The columns of every database's relay lease: one row, held by the one relay that may publish from here."""

    name: str = Field(primary_key=True, sa_type=Text)
    holder: str = Field(sa_type=Text)
    epoch: int = Field(sa_type=BigInteger)
    """Rises with each change of holder: a relay that lost the lease cannot mark rows as published."""
    expires_at: datetime = timestamp()


def outbox_index() -> Index:
    """What the relay reads: unpublished rows in order. For ``__table_args__`` of an outbox table."""
    return Index("ix_outbox_unpublished", "id", postgresql_where="published_at IS NULL")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event of an aggregate; `seq` is gapless per aggregate.

    Attributes:
        cause_id: the order, or else the aggregate, in whose trace the event stands.
    """

    topic: str
    key: str
    type: str
    aggregate: str
    aggregate_id: str
    seq: int
    data: Message
    cause_id: str
    at: datetime

    @property
    def id(self) -> str:
        """CloudEvents id: consumers deduplicate on it."""
        return f"{self.aggregate}:{self.aggregate_id}:{self.seq}"


def with_events(changes: LiteralString, *, answer: LiteralString = "true") -> LiteralString:
    """A statement that makes changes together with their events, and wakes the relay when it commits.

    Its parameter `events` comes from `encode_events`. One row comes back if there was a change, else none.

    Args:
        changes: the body of a WITH clause, in which `changed` returns a row if there was a change. Without one there
            are no events.
        answer: an expression over `changed`: the first column of that row.
    """
    return f"""
        WITH {changes},
        event AS (
            INSERT INTO outbox ({_WRITTEN}) SELECT {_WRITTEN}
              FROM json_to_recordset(%(events)s::json) AS {_RECORDSET}
             WHERE EXISTS (SELECT FROM changed)
        )
        SELECT {answer}, pg_notify('{OUTBOX_CHANNEL}', '') FROM changed LIMIT 1
    """  # noqa: S608 - put together from constants


def event_of_each(
    *,
    topic: LiteralString,
    key: LiteralString,
    type: LiteralString,  # noqa: A002 - as CloudEvents calls it
    aggregate: LiteralString,
    seq: LiteralString,
    cause_id: LiteralString,
    at: LiteralString,
    data: LiteralString,
) -> LiteralString:
    """An INSERT of one event for each row of `changed`, which wakes the relay, for a WITH clause.

    It is for events of which only the statement itself knows what to say; all others are made by `with_events`. What
    comes of it is what `encode_events` makes of an `Event`.

    Args:
        topic: name of the topic.
        key: an expression over `changed`, as all that follow: also the id of the aggregate.
        type: of the event.
        aggregate: name of the aggregate.
        seq: see `Event`.
        cause_id: see `Event`; a UUID.
        at: a timestamptz.
        data: JSON, as protobuf writes it.
    """
    return f"""
        INSERT INTO outbox (topic, key, ce_id, ce_type, ce_seq, data, traceparent, at)
        SELECT '{topic}', key, ce_id, type, seq, data::text,
               coalesce(%(traceparent)s::text, {sql_traceparent(cause_id="cause_id", event_id="ce_id")}), at
          FROM (SELECT {key} AS key, '{aggregate}:' || {key} || ':' || {seq} AS ce_id, {type} AS type, {seq} AS seq,
                       {data} AS data, {cause_id}::text AS cause_id, {at} AS at
                  FROM changed) AS event
        RETURNING pg_notify('{OUTBOX_CHANNEL}', '')
    """  # noqa: S608 - put together from constants


def encode_events(events: Sequence[Event]) -> str:
    """Events as the parameter `events` of a statement, in the order in which they shall be published."""
    return encode_rows(
        {
            "topic": event.topic,
            "key": event.key,
            "ce_id": event.id,
            "ce_type": event.type,
            "ce_seq": event.seq,
            "data": MessageToJson(event.data, indent=None, always_print_fields_with_no_presence=True),
            "traceparent": event_traceparent(cause_id=event.cause_id, event_id=event.id),
            "at": event.at,
        }
        for event in events
    )


def outbox_rule(kept: timedelta, *, archive: LiteralString = "") -> Rule:
    """Deletes events that were published so long ago; one that was not stays, however old it is.

    They are read in the order of their ids, from which times differ by little, and no index is needed beside the
    primary key. An event that is gone from here is in Kafka as long as its topic keeps it. What publishes again from
    here, as `sandbox.setup.publish_again`, begins with what is left.

    Args:
        kept: since its publication.
        archive: a CTE that keeps something of the deleted rows, ``gone``.
    """
    return delete_by_key(
        "outbox",
        key="id",
        key_type="bigint",
        first="0",
        at="at",
        goes="published_at IS NOT NULL AND published_at < now() - %(kept)s",
        kept=kept,
        archive=archive,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxBacklog:
    """What is not published yet."""

    events: int
    oldest_seconds: float
    """Age of the one that was written first, 0 without one."""


_NOTHING: Final = OutboxBacklog(events=0, oldest_seconds=0)
_BACKLOG: Final = """
    SELECT count(*) AS events, coalesce(extract(epoch FROM now() - min(at)), 0)::float8 AS oldest_seconds
      FROM (SELECT at FROM outbox WHERE published_at IS NULL ORDER BY id LIMIT %(most)s) AS unpublished
"""


async def find_backlog(connection: Connection, *, most: int) -> OutboxBacklog:
    """What is not published yet, counted up to `most` events."""
    return await connection.fetch_one(OutboxBacklog, _BACKLOG, most=most) or _NOTHING
