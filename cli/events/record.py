"""A record of one of our topics, as it was read: an event of ours, or whatever else somebody has put there."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, Final

from aiokafka import ConsumerRecord
from google.protobuf.json_format import MessageToDict, Parse, ParseError
from google.protobuf.message import Message

from cli.printable import printable
from domain.events import (
    DEAD_LETTER_SUFFIX,
    NOTIFICATION_EVENTS,
    ORDER_EVENTS,
    PAYMENT_EVENTS,
    PRODUCT_EVENTS,
    STOCK_EVENTS,
    USER_EVENTS,
)
from ordersaga.events.v1.notification_events_pb2 import NotificationChanged
from ordersaga.events.v1.order_events_pb2 import OrderTransitioned
from ordersaga.events.v1.payment_events_pb2 import PaymentChanged
from ordersaga.events.v1.product_events_pb2 import ProductChanged
from ordersaga.events.v1.stock_events_pb2 import StockChanged
from ordersaga.events.v1.user_events_pb2 import UserChanged
from runtime.cloudevents import EventHeaders, NotAnEvent
from runtime.dead_letters import REASON_HEADER

_DATA: Final[Mapping[str, type[Message]]] = {
    ORDER_EVENTS: OrderTransitioned,
    PAYMENT_EVENTS: PaymentChanged,
    STOCK_EVENTS: StockChanged,
    PRODUCT_EVENTS: ProductChanged,
    USER_EVENTS: UserChanged,
    NOTIFICATION_EVENTS: NotificationChanged,
}
_KEYED_BY_ORDER: Final = (ORDER_EVENTS, PAYMENT_EVENTS, NOTIFICATION_EVENTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was read.

    Attributes:
        time: of the event; when the record was written for one that is foreign, or was refused.
        key: as text; empty without one.
        event: what its CloudEvents headers say; None for a foreign record.
        data: of an event; None where it cannot be read.
        value: as it came.
        problem: why it is no event of ours, or why its data cannot be read; empty when all is well.
        refused: why a consumer refused it, if these are dead letters; else empty.
    """

    topic: str
    partition: int
    offset: int
    time: datetime
    key: str
    event: EventHeaders | None
    data: Message | None
    value: bytes
    problem: str
    refused: str

    @property
    def type(self) -> str:
        """Of the event; empty for a foreign record."""
        return "" if self.event is None else self.event.type

    @property
    def order_id(self) -> str:
        """The order that it is about; empty if none."""
        if isinstance(self.data, StockChanged):
            return self.data.order_id
        return self.key if self.topic.removesuffix(DEAD_LETTER_SUFFIX) in _KEYED_BY_ORDER else ""

    def to_json(self) -> dict[str, Any]:
        """Everything, for scripts; `foreign` and `value` instead of an event's attributes where it is none."""
        about: dict[str, Any] = {
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "time": self.time.isoformat().replace("+00:00", "Z"),
            "key": self.key,
        }
        if self.event is not None:
            about |= {"id": self.event.id, "type": self.event.type, "seq": self.event.seq, "source": self.event.source}
        if self.data is not None:
            about["data"] = MessageToDict(self.data)
        else:
            about["foreign" if self.event is None else "problem"] = self.problem
            about["value"] = self.value.decode(errors="backslashreplace")
        if self.refused:
            about["refused"] = self.refused
        return about


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which records are shown: those that fit whatever is given.

    Attributes:
        order: id of an order.
        key: of the record.
        types: of events, of which one has to fit; ``*`` stands for anything, as in ``order.*``.
    """

    order: str | None = None
    key: str | None = None
    types: Collection[str] = ()

    def __call__(self, seen: Seen) -> bool:
        """Whether this one is."""
        if self.order is not None and seen.order_id != self.order:
            return False
        if self.key is not None and seen.key != self.key:
            return False
        return not self.types or any(fnmatchcase(seen.type, each) for each in self.types)


def read(record: ConsumerRecord) -> Seen:
    """Whatever the record is; nothing in it is an error."""
    event, data, problem = None, None, ""
    value: bytes = record.value or b""
    try:
        event = EventHeaders.from_kafka(record.headers)
        kind = _DATA[record.topic.removesuffix(DEAD_LETTER_SUFFIX)]
        data = Parse(value.decode(), kind(), ignore_unknown_fields=True)
    except NotAnEvent as error:
        problem = str(error)
    except (ParseError, UnicodeDecodeError):
        problem = f"the data is not the JSON of {_with_article(kind.DESCRIPTOR.name)}"
    refused = dict(record.headers).get(REASON_HEADER) or b""
    written_at = datetime.fromtimestamp(record.timestamp / 1_000, UTC)
    return Seen(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        time=written_at if event is None or refused else _in_utc(event.time),
        key=printable((record.key or b"").decode(errors="backslashreplace")),
        event=event,
        data=data,
        value=value,
        problem=problem,
        refused=refused.decode(errors="backslashreplace"),
    )


def _in_utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _with_article(name: str) -> str:
    return f"{'an' if re.match('[AEIOU]', name) else 'a'} {name}"
