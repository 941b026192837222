"""Dead letters in words, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.markup import escape

from cli.dlq.client import to_id
from cli.events.record import Seen, read
from cli.events.words import in_words
from cli.printable import printable, readable
from ordersaga.notification.v1 import dead_letters_pb2 as pb
from runtime.dead_letters import DeadLetter

_COLOURS: Final = {"OPEN": "bold red", "RETRIED": "green", "RESOLVED": "green"}
_COLUMNS: Final = ("id", "refused (UTC)", "state", "key", "type", "why")
_LONGEST_VALUE: Final = 4_000


def print_list(letters: Sequence[pb.DeadLetter], *, open_ones: int, closed_too: bool) -> None:
    """A line for each, the oldest first."""
    console = Console(highlight=False, soft_wrap=True)
    if not letters:
        console.print("There are no dead letters." if closed_too else "No dead letter waits for a person.")
        return
    rows = [_row(letter) for letter in letters]
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *rows, strict=True)]
    console.print(
        "  ".join(f"{name:{width}}" for name, width in zip(_COLUMNS, widths, strict=True)).rstrip(), style="bold"
    )
    for row in rows:
        cells = [escape(f"{text:{width}}") for text, width in zip(row, widths, strict=True)]
        cells[2] = f"[{_COLOURS[row[2]]}]{cells[2]}[/]"
        console.print("  ".join(cells).rstrip())
    if open_ones:
        console.print(f"{open_ones} open. To read one: ordersaga dlq show {rows[0][0]}")


def print_letter(letter: pb.DeadLetter) -> None:
    """All that is known of one."""
    console = Console(highlight=False, soft_wrap=True)
    name, state = to_id(letter.place), _state(letter)
    console.print(f"[bold]{name}[/]  [{_COLOURS[state]}]{state}[/]")
    for what, text in _facts(letter):
        console.print(f"  {what:9}  {escape(text)}")
    if state == "OPEN":
        console.print("  mended?    ordersaga dlq retry " + name, style="yellow")
        console.print(f"  no need?   ordersaga dlq resolve {name} --note '…'", style="yellow")


def to_json(letter: pb.DeadLetter) -> dict[str, Any]:
    """One, for scripts; in a list without its value."""
    seen = _seen(letter)
    return {
        "id": to_id(letter.place),
        "state": _state(letter),
        "refused_at": _iso(letter.refused_at),
        "recorded_at": _iso(letter.recorded_at),
        "consumer": letter.consumer,
        "reason": letter.reason,
        "error": letter.error,
        "key": seen.key,
        "event": None if seen.event is None else {"id": seen.event.id, "type": seen.event.type, "seq": seen.event.seq},
        "headers": {header.name: header.value.decode(errors="backslashreplace") for header in letter.headers},
        "value": letter.value.decode(errors="backslashreplace"),
        "actions": [
            {
                "action": pb.LetterAction.Name(action.action).removeprefix("LETTER_ACTION_"),
                "actor": action.actor,
                "note": action.note,
                "refusal": action.refusal,
                "at": _iso(action.at),
            }
            for action in letter.actions
        ],
    }


def describe_action(action: pb.DeadLetterAction) -> str:
    """What somebody did, and what came of it."""
    verb = "retried" if action.action == pb.LETTER_ACTION_RETRY else "resolved"
    outcome = f": refused again: {action.refusal}" if action.refusal else ""
    note = f' "{action.note}"' if action.note else ""
    return printable(f"{_second(action.at)} {verb} by {action.actor}{note}{outcome}")


def _row(letter: pb.DeadLetter) -> tuple[str, ...]:
    key = readable(letter.key, longest=36) or "-"
    kind = printable(_seen(letter).type) or "-"
    return to_id(letter.place), _second(letter.refused_at), _state(letter), key, kind, printable(_why(letter))


def _why(letter: pb.DeadLetter) -> str:
    """Why it is there as things stand: what it was refused for last, or who closed it."""
    if not letter.actions:
        return letter.reason
    last = letter.actions[-1]
    return f"{last.refusal} (again at {_second(last.at)}, {last.actor})" if last.refusal else describe_action(last)


def _facts(letter: pb.DeadLetter) -> Iterator[tuple[str, str]]:
    seen = _seen(letter)
    yield "refused", f"{_second(letter.refused_at)} UTC, {_age(letter.refused_at)} ago, by consumer {letter.consumer}"
    yield "why", printable(letter.reason)
    if letter.error not in letter.reason:
        yield "error", printable(letter.error)
    yield "written", f"{_second(letter.recorded_at)} UTC"
    yield "key", seen.key or "(none)"
    for header in letter.headers:
        value = readable(header.value, longest=200) if header.HasField("value") else "(null)"
        yield "header", f"{printable(header.name)}: {value}"
    if seen.data is not None:
        yield "says", in_words(seen)
    yield "value", _value(letter.value)
    for action in letter.actions:
        yield "done", describe_action(action)


def _value(value: bytes) -> str:
    try:
        return json.dumps(json.loads(value), ensure_ascii=True)[:_LONGEST_VALUE]
    except ValueError:
        return readable(value, longest=_LONGEST_VALUE) or "(none)"


def _seen(letter: pb.DeadLetter) -> Seen:
    """The record as `ordersaga events tail` reads it."""
    record = DeadLetter(
        topic=letter.place.topic,
        partition=letter.place.partition,
        offset=letter.place.offset,
        recorded_at=letter.recorded_at.ToDatetime(tzinfo=UTC),
        key=letter.key,
        value=letter.value,
        headers=tuple((each.name, each.value if each.HasField("value") else None) for each in letter.headers),
        consumer=letter.consumer,
        reason=letter.reason,
        error=letter.error,
        refused_at=letter.refused_at.ToDatetime(tzinfo=UTC),
    )
    return read(record.to_record())


def _state(letter: pb.DeadLetter) -> str:
    return pb.DeadLetterStatus.Name(letter.status).removeprefix("DEAD_LETTER_STATUS_")


def _second(at: Timestamp) -> str:
    return f"{at.ToDatetime():%Y-%m-%d %H:%M:%S}"


def _iso(at: Timestamp) -> str:
    return at.ToJsonString()


def _age(at: Timestamp) -> str:
    seconds = max(0, int((datetime.now(UTC) - at.ToDatetime(tzinfo=UTC)).total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
