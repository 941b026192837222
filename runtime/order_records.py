"""What all services know of one order, put together: for the command of people on call, and for the HTTP API."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ordersaga.oncall.v1 import on_call_pb2 as pb
from ordersaga.oncall.v1.on_call_pb2_grpc import OnCallServiceStub
from runtime.caller import Caller
from runtime.identity import Part
from runtime.on_call import OrderRecord, Section, TimelineEntry
from runtime.protos import from_proto
from runtime.refusal import Unavailable
from runtime.rpc_client import call

ORDER_PARTS: Final = (Part.ORDER, Part.INVENTORY, Part.PAYMENT, Part.NOTIFICATION)
"""The services that know something of an order, the one first that knows whether there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectedRecord:
    """What the services said, in the order of `ORDER_PARTS`.

    Attributes:
        sections: tables, for those who see all.
        timeline: what happened, the first thing first.
        missing: the services that did not answer, and why.
    """

    sections: Sequence[Section]
    timeline: Sequence[TimelineEntry]
    missing: Mapping[Part, str]


async def collect_order_record(
    services: Mapping[Part, OnCallServiceStub], order_id: str, *, caller: Caller, deadline: float
) -> CollectedRecord:
    """Ask every service for what it knows of the order, and shows to this caller.

    Args:
        services: one for each of `ORDER_PARTS`.
        order_id: of an order.
        caller: for whom it is asked.
        deadline: what each service gets, seconds.
    """

    async def ask(part: Part) -> OrderRecord | str:
        request = pb.DescribeOrderRequest(order_id=order_id)
        try:
            answer = await call(services[part].DescribeOrder, request, caller=caller, deadline=deadline)
        except Unavailable as problem:
            return str(problem)
        return OrderRecord(
            sections=[
                Section(section.title, list(section.columns), [list(row.values) for row in section.rows])
                for section in answer.sections
            ],
            timeline=[from_proto(TimelineEntry, entry) for entry in answer.timeline],
        )

    answers = dict(zip(ORDER_PARTS, await asyncio.gather(*map(ask, ORDER_PARTS)), strict=True))
    records = [answer for answer in answers.values() if isinstance(answer, OrderRecord)]
    return CollectedRecord(
        sections=_together([section for record in records for section in record.sections]),
        timeline=sorted((entry for record in records for entry in record.timeline), key=lambda entry: entry.at),
        missing={part: answer for part, answer in answers.items() if isinstance(answer, str)},
    )


def _together(sections: Sequence[Section]) -> list[Section]:
    """The sections, those of several services that are alike as one, where the last of them was."""
    found: dict[tuple[str, ...], Section] = {}
    for section in sections:
        key = (section.title, *section.columns)
        before = found.pop(key, None)
        rows = section.rows if before is None else [*before.rows, *section.rows]
        found[key] = Section(section.title, section.columns, rows)
    return list(found.values())
