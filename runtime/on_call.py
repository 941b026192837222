"""What every service tells people on call: what stands still in its tables, and what it knows of an order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import grpc.aio

from domain.concerns import OUTBOX_STEP, ConcernKind
from domain.limits import MAX_CONCERNS
from ordersaga.oncall.v1 import on_call_pb2 as pb
from ordersaga.oncall.v1.on_call_pb2_grpc import OnCallServiceServicer, add_OnCallServiceServicer_to_server
from runtime.caller import current_caller
from runtime.clock import utc_now
from runtime.database import Connection, Database
from runtime.identity import Part
from runtime.outbox import find_backlog
from runtime.permissions import READERS, allow
from runtime.protos import to_proto
from runtime.rpc_server import GrpcService
from runtime.validation import Violations

Context = grpc.aio.ServicerContext[Any, Any]

_COUNTED: Final = 10_000
"""Unpublished events that are counted, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Concern:
    """Something that does not get through, or not yet.

    Attributes:
        subject_id: of the order, refund, …; the name of a part.
        step: what of it stands still, in one word: tells two concerns of one subject apart.
        order_id: the order that it is about; None where it is about none, or many.
        cause: in words for people.
        attempts: that failed since it last got through.
        last_error: in words.
    """

    kind: ConcernKind
    subject_id: str
    step: str
    cause: str
    since: datetime
    order_id: str | None = None
    attempts: int = 0
    last_error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineEntry:
    """Something that happened to an order.

    Attributes:
        type: in one word of ours, such as ``order.paid``.
        text: in words for people.
        actor: who did it, see `runtime.caller.Caller.actor`; empty where it happened by itself.
        note: why, in their words.
        for_customer: whether it is shown to the order's customer, too.
    """

    at: datetime
    type: str
    text: str
    actor: str = ""
    note: str = ""
    for_customer: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A table about an order."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    """One value for each column; None where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRecord:
    """What a service knows of an order; `user_id` is its customer's, where the service knows that."""

    user_id: str | None = None
    sections: Sequence[Section] = ()
    timeline: Sequence[TimelineEntry] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedEvent:
    """An event of the outbox; `published_at` is when Kafka had acknowledged it.

    Of one that was deleted there, as only published ones are, no more than its id is known.
    """

    ce_id: str
    ce_type: str | None
    topic: str | None
    at: datetime | None
    published_at: datetime | None

    @property
    def where(self) -> datetime | str:
        """Where it is, for people."""
        if self.at is None:
            return "published; its outbox row has been deleted since"
        return self.published_at or "not yet: waits for the relay"


async def read_events(connection: Connection, ids: Iterable[str]) -> list[PublishedEvent]:
    """Those of the events that the outbox has, or may have had before the oldest ones were deleted."""
    return await connection.fetch_all(
        PublishedEvent,
        """
        SELECT wanted.ce_id, ce_type, topic, at, published_at
          FROM unnest(%(ids)s::text[]) WITH ORDINALITY AS wanted (ce_id, place)
               LEFT JOIN outbox ON outbox.ce_id = wanted.ce_id
         WHERE outbox.id IS NOT NULL
            OR EXISTS (SELECT FROM retention WHERE name = 'outbox' AND horizon IS NOT NULL)
         ORDER BY outbox.id NULLS FIRST, place
        """,
        ids=list(ids),
    )


def events_section(events: Sequence[PublishedEvent]) -> Section:
    """A table of events, with where they are."""
    return Section(
        "events",
        ("event", "type", "topic", "at", "in_kafka"),
        [(event.ce_id, event.ce_type, event.topic, event.at, event.where) for event in events],
    )


class OnCall(Protocol):
    """What a service says of its own tables."""

    async def find_concerns(self, *, older_than: timedelta, most: int) -> list[Concern]:
        """What stands still for longer than that, the longest first; of each kind one more than `most` at most."""

    async def describe_order(self, order_id: str) -> OrderRecord | None:
        """What it knows of the order."""


class NothingOnCall:
    """Of a service that has no work of its own, and knows no orders."""

    async def find_concerns(self, *, older_than: timedelta, most: int) -> list[Concern]:
        return []

    async def describe_order(self, order_id: str) -> OrderRecord | None:
        return None


class OnCallServicer(OnCallServiceServicer):
    """gRPC of `OnCall`, with what is the same everywhere: the outbox."""

    def __init__(self, part: Part, database: Database, on_call: OnCall) -> None:
        self._part = part
        self._database = database
        self._on_call = on_call

    @allow(Part.ORDER)
    @allow(Part.OPERATOR)
    async def ListConcerns(self, request: pb.ListConcernsRequest, context: Context) -> pb.ListConcernsResponse:
        with Violations() as violations:
            violations.check_range("older_than_seconds", request.older_than_seconds, smallest=0, largest=30 * 86_400)
            violations.check_range("most", request.most, smallest=1, largest=MAX_CONCERNS)
        concerns = await self.find_concerns(older_than=timedelta(seconds=request.older_than_seconds), most=request.most)
        return pb.ListConcernsResponse(concerns=[to_proto(pb.Concern, concern) for concern in concerns])

    @allow(Part.GATEWAY, *READERS)
    @allow(Part.OPERATOR)
    async def DescribeOrder(self, request: pb.DescribeOrderRequest, context: Context) -> pb.DescribeOrderResponse:
        with Violations() as violations:
            violations.check_id("order_id", request.order_id)
        record, caller = await self._on_call.describe_order(request.order_id), current_caller()
        if record is None or not caller.may_see(record.user_id or "", order_id=request.order_id):
            return pb.DescribeOrderResponse()
        return pb.DescribeOrderResponse(
            sections=[_section_to_proto(section) for section in record.sections] if caller.sees_all else (),
            timeline=[
                to_proto(pb.TimelineEntry, entry if caller.sees_all else replace(entry, actor="", note=""))
                for entry in record.timeline
                if caller.sees_all or entry.for_customer
            ],
        )

    async def find_concerns(self, *, older_than: timedelta, most: int) -> list[Concern]:
        """The service's own, of each kind at most so many, and the outbox's."""
        concerns = await self._on_call.find_concerns(older_than=older_than, most=most)
        outbox = await self._find_standing_outbox(older_than)
        return [*_no_more_than(most, concerns), *outbox]

    async def _find_standing_outbox(self, older_than: timedelta) -> list[Concern]:
        async with self._database.autocommit() as connection:
            backlog = await find_backlog(connection, most=_COUNTED)
        age = timedelta(seconds=backlog.oldest_seconds)
        if not backlog.events or age <= older_than:
            return []
        count = f"{backlog.events:,}" if backlog.events < _COUNTED else f"{backlog.events:,} or more"
        return [
            Concern(
                kind=ConcernKind.PART,
                subject_id="relay",
                step=f"{OUTBOX_STEP} {self._part.value}",
                cause=f"{count} event(s) of the {self._part.value} service wait for Kafka",
                since=utc_now() - age,
            )
        ]


def on_call_service(part: Part, database: Database, on_call: OnCall) -> GrpcService:
    """The service as it is served beside the part's own."""
    descriptor = pb.DESCRIPTOR.services_by_name["OnCallService"]
    return GrpcService(descriptor, OnCallServicer(part, database, on_call), add_OnCallServiceServicer_to_server)


def _no_more_than(most: int, concerns: Iterable[Concern]) -> list[Concern]:
    """At most so many of each kind and step; the last one then says that there are more."""
    kept: dict[tuple[ConcernKind, str], list[Concern]] = {}
    for concern in concerns:
        alike = kept.setdefault((concern.kind, concern.step), [])
        if len(alike) < most:
            alike.append(concern)
        else:
            alike[-1] = replace(alike[-1], cause=f"{alike[-1].cause} (and more like it)")
    return [concern for alike in kept.values() for concern in alike]


def _section_to_proto(section: Section) -> pb.Section:
    return pb.Section(
        title=section.title,
        columns=section.columns,
        rows=[pb.Row(values=[_text(value) for value in row]) for row in section.rows],
    )


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case datetime():
            return f"{value:%Y-%m-%d %H:%M:%S}"
        case bool():
            return "yes" if value else "no"
        case _:
            return str(value)
