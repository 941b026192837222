"""Which orders a list shows: the parameters of its query."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, TypeAlias

from google.protobuf.timestamp_pb2 import Timestamp
from litestar.params import QueryParameter

from domain.ids import WRITTEN_ID
from domain.limits import MAX_SEARCH
from domain.money import MAX_AMOUNT
from domain.order_numbers import WRITTEN
from domain.texts import NOTHING, PLAIN_LINE
from runtime.protos import to_timestamp
from runtime.validation import Violations

Number: TypeAlias = Annotated[
    str,
    QueryParameter(
        description="Only the order of this number, however it is written.", schema_extra={"pattern": f"^({WRITTEN})?$"}
    ),
]
CreatedFrom: TypeAlias = Annotated[
    datetime | None, QueryParameter(description="Only orders placed then or later, with a time zone (RFC 3339).")
]
CreatedBefore: TypeAlias = Annotated[
    datetime | None, QueryParameter(description="Only orders placed before then, with a time zone (RFC 3339).")
]
TotalMin: TypeAlias = Annotated[
    int | None,
    QueryParameter(
        ge=0,
        le=MAX_AMOUNT,
        description="Only orders of at least this total, minor units.",
        schema_extra={"minimum": 0},  # which Litestar leaves out
    ),
]
TotalMax: TypeAlias = Annotated[
    int | None,
    QueryParameter(
        ge=0,
        le=MAX_AMOUNT,
        description="Only orders of at most this total, minor units.",
        schema_extra={"minimum": 0},  # as above
    ),
]
Customer: TypeAlias = Annotated[
    str,
    QueryParameter(
        description="Only orders of the customer with this id; admins only.",
        schema_extra={"pattern": f"^({WRITTEN_ID})?$"},
    ),
]
Search: TypeAlias = Annotated[
    str,
    QueryParameter(
        max_length=MAX_SEARCH,
        schema_extra={"pattern": f"{NOTHING}|{PLAIN_LINE}"},
        description="Only orders with this text in a product's name or in their metadata, in whatever case; admins name"
        " the `customer` with it.",
    ),
]
Attention: TypeAlias = Annotated[
    bool, QueryParameter(description="Only orders about which something needs a person; admins only.")
]


def check_span(
    violations: Violations, created_from: datetime | None, created_before: datetime | None
) -> dict[str, Timestamp]:
    """A span of time on the wire; notes what is no moment."""
    given = {"created_from": created_from, "created_before": created_before}
    span: dict[str, Timestamp] = {}
    for name, moment in given.items():
        if moment is None:
            continue
        if moment.tzinfo is None:
            violations.add(name, "must have a time zone, for example 2026-11-30T09:00:00Z")
            continue
        try:
            span[name] = to_timestamp(moment)
        except (ValueError, OverflowError):  # before year 1, or after 9999, in UTC
            violations.add(name, "must be a moment from year 1 to 9999")
    return span
