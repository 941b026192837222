"""`ordersaga order ID`: all that is known of one order, on one page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Column, Table

from cli.exiting import CommandFailed
from cli.on_call.attention import print_concern, to_data
from cli.on_call.operator import DEADLINE, open_operator
from cli.on_call.references import to_id
from cli.on_call.selection import Query, find_attention
from cli.printable import as_markup, printable_json
from domain.ids import is_id
from domain.order_numbers import is_written_as_number
from ordersaga.order.v1 import order_pb2 as pb
from runtime.caller import SERVICE
from runtime.on_call import Section, TimelineEntry
from runtime.order_records import CollectedRecord, collect_order_record
from runtime.settings import Settings, SettingsError

_PIPED_WIDTH: Final = 250
"""Characters of a line where no terminal says how many it has."""


async def print_order(settings: Settings, written: str, *, as_json: bool) -> bool:
    """Print what every service knows of the order of this id or number; whether all of them answered.

    Raises:
        SettingsError: it is neither, or there is no operator's certificate.
        CommandFailed: the order service knows of none.
        ServiceUnavailable: the order service does not answer.
    """
    if not is_id(written) and not is_written_as_number(written):
        raise SettingsError(f"{written!r} is neither an order's id, a UUID, nor its number, such as 7KQ2-M9XD")
    async with open_operator(settings) as operator:
        order_id = await to_id(operator, written)
        attention = await find_attention(operator, Query(about=order_id))
        record = await collect_order_record(operator.on_call, order_id, caller=SERVICE, deadline=DEADLINE)
    if not record.sections and not record.missing:
        raise CommandFailed(f"there is no order {order_id}")
    if as_json:
        print(printable_json(_to_data(order_id, record, attention)))
    else:
        print_page(order_id, record, attention)
    return not record.missing


def _to_data(order_id: str, record: CollectedRecord, attention: list[pb.Attention]) -> dict[str, Any]:
    return {
        "id": order_id,
        "attention": [to_data(each) for each in attention],
        **{
            section.title: [dict(zip(section.columns, row, strict=True)) for row in section.rows]
            for section in record.sections
        },
        "timeline": [
            {"at": entry.at, "type": entry.type, "text": entry.text, "actor": entry.actor, "note": entry.note}
            for entry in record.timeline
        ],
        "missing": {part.value: problem for part, problem in record.missing.items()},
    }


def print_page(order_id: str, record: CollectedRecord, attention: list[pb.Attention]) -> None:
    """The page itself."""
    console = Console(highlight=False)
    if not console.is_terminal:  # for grep and less: an id stays on its line
        console.width = max(console.width, _PIPED_WIDTH)
    console.print(f"[bold]Order {order_id}[/]\n")
    for each in attention:
        print_concern(console, each)
    for section in record.sections[:1]:
        _print_section(console, section)
    _print_timeline(console, record.timeline)
    for section in record.sections[1:]:
        if section.rows:
            _print_section(console, section)
    for part, problem in record.missing.items():
        console.print(f"[bold red]the {part.value} service did not answer:[/] {as_markup(problem)}")


def _print_timeline(console: Console, timeline: Sequence[TimelineEntry]) -> None:
    table = _table("timeline", "at (UTC)", "what", "text", "who, why")
    for entry in timeline:
        by = ": ".join(part for part in (entry.actor, entry.note) if part)
        table.add_row(f"{entry.at:%Y-%m-%d %H:%M:%S.%f}"[:-3], entry.type, as_markup(entry.text), as_markup(by))
    console.print(table)


def _print_section(console: Console, section: Section) -> None:
    """One row as a list of names and values, several as a table; columns that are empty everywhere are left out."""
    filled = [index for index in range(len(section.columns)) if any(row[index] for row in section.rows)]
    if len(section.rows) == 1:
        table = _table(section.title)
        for index in filled:
            table.add_row(section.columns[index].replace("_", " "), as_markup(str(section.rows[0][index])))
    else:
        table = _table(section.title, *(section.columns[index].replace("_", " ") for index in filled))
        for row in section.rows:
            table.add_row(*(as_markup(str(row[index])) for index in filled))
    console.print(table)


def _table(title: str, *columns: str) -> Table:
    """One without lines; without columns it has no head either. Long words go on in the next line: an id is whole."""
    return Table(
        *(Column(name, overflow="fold") for name in columns),
        title=f"\n{title}",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD if columns else None,
        show_header=bool(columns),
        pad_edge=False,
    )
