"""`ordersaga attention`: all that needs a person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from shlex import quote
from typing import Any, Final

from rich.console import Console

from cli.on_call.operator import open_operator
from cli.on_call.selection import Query, find_attention
from cli.printable import as_markup, printable_json
from domain.concerns import ConcernKind
from ordersaga.oncall.v1 import on_call_pb2 as on_call_pb
from ordersaga.order.v1 import order_pb2 as pb
from runtime.protos import enum_mapping
from runtime.settings import Settings

ALIKE: Final = 3
"""Of what is alike in kind, step and cause, so much is shown one by one, unless all is asked for."""


async def print_attention(settings: Settings, query: str, *, show_all: bool, as_json: bool) -> bool:
    """Print all that needs a person; whether nothing does.

    Raises:
        SettingsError: the query is none, or there is no operator's certificate.
        ServiceUnavailable: the order service does not answer.
    """
    async with open_operator(settings) as operator:
        found = await find_attention(operator, Query.parse(query))
    if as_json:
        print(printable_json([to_data(attention) for attention in found]))
    else:
        _print(found, show_all=show_all)
    return not found


def to_data(attention: pb.Attention) -> dict[str, Any]:
    """As JSON values; instants in RFC 3339."""
    concern = attention.concern
    return {
        "kind": _kind(attention).value,
        "id": concern.subject_id,
        "step": concern.step,
        "order_id": concern.order_id or None,
        "cause": concern.cause,
        "since": concern.since.ToDatetime(tzinfo=UTC),
        "attempts": concern.attempts,
        "last_error": concern.last_error or None,
        "raised_by": attention.raised_by,
        "by_itself": attention.by_itself,
        "to_do": attention.to_do,
    }


def _print(found: Sequence[pb.Attention], *, show_all: bool) -> None:
    console = Console(highlight=False, soft_wrap=True)
    if not found:
        console.print("[green]Nothing needs a person.[/]")
        return
    for alike in _group(found):
        shown = alike if show_all else alike[:ALIKE]
        for attention in shown:
            print_concern(console, attention)
        if hidden := len(alike) - len(shown):
            query = Query(kind=_kind(alike[0]), step=alike[0].concern.step).to_text()
            console.print(f"  … and {hidden} more like it: ordersaga attention --all --query {as_markup(quote(query))}")
        console.print()
    console.print(f"[bold]{len(found)}[/] need a person.")


def _group(found: Sequence[pb.Attention]) -> Iterator[list[pb.Attention]]:
    """What is alike, together."""
    groups: dict[tuple[object, ...], list[pb.Attention]] = {}
    for attention in found:
        concern = attention.concern
        groups.setdefault((concern.kind, concern.step, concern.cause), []).append(attention)
    return iter(groups.values())


def print_concern(console: Console, attention: pb.Attention) -> None:
    """What needs a person, why, and what to do, in some lines."""
    for line in _lines(attention, datetime.now(UTC)):
        console.print(line, soft_wrap=True)


def _lines(attention: pb.Attention, now: datetime) -> Iterator[str]:
    concern = attention.concern
    since = concern.since.ToDatetime(tzinfo=UTC)
    of_order = f" (order {concern.order_id})" if concern.order_id not in ("", concern.subject_id) else ""
    attempts = f", {concern.attempts} attempt{'s' * (concern.attempts > 1)}" if concern.attempts else ""
    yield (
        f"[bold red]{_kind(attention).value}[/] [bold]{as_markup(concern.subject_id)}[/]{of_order}  "
        f"{as_markup(concern.step)}  "
        f"[dim]since {since:%Y-%m-%d %H:%M:%S} UTC ({in_words(now - since)}{attempts})[/]"
    )
    yield f"  {as_markup(concern.cause)}"
    if concern.last_error and concern.last_error not in concern.cause:
        yield f"  last error  {as_markup(concern.last_error)}"
    yield f"  by itself   {as_markup(attention.by_itself)}"
    yield f"  to do       [cyan]{as_markup(attention.to_do)}[/]"


def _kind(attention: pb.Attention) -> ConcernKind:
    """Its kind; a newer one than ours is shown as that of a part."""
    kinds = enum_mapping(ConcernKind, on_call_pb.ConcernKind.DESCRIPTOR)
    return kinds.from_proto(attention.concern.kind) or ConcernKind.PART


def in_words(span: timedelta) -> str:
    """A span of time as people say it, to its two largest units."""
    seconds = max(int(span.total_seconds()), 0)
    for size, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            whole, rest = divmod(seconds, size)
            smaller = {"d": (3_600, "h"), "h": (60, "min"), "min": (1, "s")}[name]
            part = rest // smaller[0]
            return f"{whole} {name}" + (f" {part} {smaller[1]}" if part else "")
    return f"{seconds} s"
