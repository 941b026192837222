"""`ordersaga events tail`: one line per record, for people or as JSON."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Final

from aiokafka import ConsumerRecord
from rich.console import Console
from rich.text import Text

from cli.events.reading import TopicReader, open_topics
from cli.events.record import Seen, Wanted, read
from cli.events.words import in_words
from cli.exiting import ExitCode
from cli.printable import printable_json, readable
from domain.events import ALL_TOPICS
from runtime.logs import configure_logging
from runtime.settings import Settings, SettingsError

_QUIET: Final = "critical"
_TYPE_WIDTH: Final = max(map(len, ("payment.status_updated", "notification.failed")))
_KEY_WIDTH: Final = 36


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """What is to be shown.

    Attributes:
        topics: of ours; all of them, dead letters too, without any.
        since: from when on; without it, what comes.
        limit: after how many records it ends.
        follow: whether it waits for more once everything that is there is shown.
        as_json: one object per line.
    """

    topics: Sequence[str]
    wanted: Wanted
    since: datetime | None = None
    limit: int | None = None
    follow: bool = True
    as_json: bool = False


def run(settings: Settings, tail: Tail) -> int:
    """Show it; the exit code.

    Raises:
        SettingsError: there is no such topic of ours, or a setting does not fit.
        KafkaUnusable: Kafka cannot be asked.
    """
    configure_logging(_QUIET)  # what keeps it from its work is said in words
    if unknown := [topic for topic in tail.topics if topic not in ALL_TOPICS]:
        raise SettingsError(f"there is no topic {', '.join(unknown)} of ours; these are: {', '.join(ALL_TOPICS)}")
    try:
        asyncio.run(_show(settings, tail))
    except BrokenPipeError:  # whoever read it, such as `head`, has seen enough
        sys.stdout = sys.stderr
    return ExitCode.WELL


async def _show(settings: Settings, tail: Tail) -> None:
    show: Callable[[Seen], None] = _show_json if tail.as_json else _Lines()
    shown = count(1)
    async with (
        open_topics(settings, tail.topics or ALL_TOPICS, since=tail.since) as reader,
        aclosing(_records(reader, follow=tail.follow)) as records,
    ):
        async for record in records:
            if not tail.wanted(seen := read(record)):
                continue
            show(seen)
            if next(shown) == tail.limit:
                return


async def _records(reader: TopicReader, *, follow: bool) -> AsyncGenerator[ConsumerRecord, None]:
    async for record in reader.stored():
        yield record
    if follow:
        _tell("(all that is there is shown; Ctrl-C ends)")
        async for record in reader.following(_tell_of_problem):
            yield record
    else:
        while records := await reader.rest():
            for record in records:
                yield record


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _tell_of_problem(problem: str) -> None:
    _tell(f"Kafka: {problem}; waiting for it" if problem else "Kafka: it is back")


def _show_json(seen: Seen) -> None:
    print(printable_json(seen.to_json()), flush=True)


class _Console(Console):
    """One that leaves it to us what becomes of the process when nobody reads on."""

    def on_broken_pipe(self) -> None:
        """Called where the error is handled."""
        raise


class _Lines:
    """Lines of columns: time, topic, key, type, number, and what it says."""

    def __init__(self) -> None:
        self._console = _Console(highlight=False, soft_wrap=True)
        self._width = max(map(len, ALL_TOPICS))

    def __call__(self, seen: Seen) -> None:
        style = "" if seen.data is not None and not seen.refused else "bold red"
        number = "-" if seen.event is None else str(seen.event.seq)
        line = Text(f"{seen.time:%Y-%m-%d %H:%M:%S}Z  ", style="dim")
        line.append(
            f"{seen.topic:{self._width}}  {readable(seen.key.encode(), longest=_KEY_WIDTH) or '-':{_KEY_WIDTH}}  "
        )
        line.append(f"{readable(seen.type.encode(), longest=_TYPE_WIDTH) or '-':{_TYPE_WIDTH}}", style=style or "cyan")
        line.append(f"  {number:>3}  ")
        line.append(in_words(seen), style=style)
        self._console.print(line)
        sys.stdout.flush()
