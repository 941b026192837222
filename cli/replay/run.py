"""The command: where the histories come from, what is printed of each, and the exit code."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from temporalio.service import RPCStatusCode

from cli.replay.histories import NoHistory, Source, count, fetch, find_files, read_history
from cli.replay.parallel import replay_all
from cli.replay.verdict import Outcome
from runtime.settings import Settings, SettingsError
from runtime.temporal import TemporalAway, TemporalRefused, connect_temporal

ALL_REPLAY: Final = 0
ONE_DIFFERS: Final = 1
NO_HISTORY: Final = 2
NOT_ASKED: Final = 3


@dataclass(slots=True)
class Replays:
    """What was replayed, and what could not be.

    Attributes:
        code: the command's exit code: the highest of those above that applies.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    code: int = ALL_REPLAY

    def add(self, outcome: Outcome) -> None:
        """One more history."""
        self.outcomes.append(outcome)
        if not outcome.is_good:
            self.worsen(ONE_DIFFERS)

    def complain(self, text: str, code: int) -> None:
        """Say what is wrong with what was asked, or with Temporal."""
        print(text, file=sys.stderr)
        self.worsen(code)

    def worsen(self, code: int) -> None:
        """Let the command exit with this code, if nothing worse has happened."""
        self.code = max(self.code, code)


def replay(paths: Sequence[Path], query: str | None, *, limit: int, jobs: int | None, as_json: bool) -> int:
    """Replay the histories of files and folders, or of the workflows that a query finds; print what came of them.

    Returns:
        The exit code: 0 when all replay, 1 when one does not, 2 when there is none in a file, 3 when Temporal did not
        answer.

    Raises:
        SettingsError: a setting, or what is asked for, does not fit.
    """
    if bool(paths) == (query is not None):
        raise SettingsError("give files and folders, or --query, one of the two")
    return asyncio.run(_replay(Settings.load(), paths, query, limit=limit, jobs=jobs, as_json=as_json))


async def _replay(
    settings: Settings, paths: Sequence[Path], query: str | None, *, limit: int, jobs: int | None, as_json: bool
) -> int:
    replays = Replays()
    files = list(find_files(paths))
    for folder in (path for path in paths if path.is_dir() and not any(path.rglob("*.json"))):
        replays.complain(f"{folder}: holds no *.json", NO_HISTORY)
    found = total = len(files)
    try:
        client = None
        if query is not None:
            client = await connect_temporal(settings, lazy=True)
            found = await count(client, query)
            total = min(found, limit)
        sources = _read(files, replays) if client is None else fetch(client, query or "", limit=limit)
        with _progress(total, hidden=as_json) as progress:
            task = progress.add_task("replaying", total=total) if progress is not None else None
            async for outcome in replay_all(sources, settings, jobs=jobs or os.cpu_count() or 1):
                replays.add(outcome)
                if progress is not None and task is not None:
                    progress.advance(task)
                if not as_json:
                    _print(outcome, progress)
    except TemporalRefused as refused:
        is_query = refused.status is RPCStatusCode.INVALID_ARGUMENT
        replays.complain(f"--query: {refused}" if is_query else str(refused), NO_HISTORY if is_query else NOT_ASKED)
    except TemporalAway as away:
        replays.complain(f"{away}; see ORDERSAGA_TEMPORAL_ADDRESS, or the profile", NOT_ASKED)
    if as_json:
        print(json.dumps([{**asdict(outcome), "is_good": outcome.is_good} for outcome in replays.outcomes], indent=2))
    elif replays.outcomes or not replays.code:
        print(_summary(replays.outcomes, left=0 if query is None else found - total))
    return replays.code


async def _read(files: Sequence[Path], replays: Replays) -> AsyncIterator[Source]:
    for path in files:
        try:
            yield Source.of(str(path), read_history(path))
        except NoHistory as error:
            replays.complain(f"{path}: {error}", NO_HISTORY)


def _progress(total: int, *, hidden: bool) -> Progress | nullcontext[None]:
    console = Console(stderr=True)
    if hidden or not console.is_terminal:
        return nullcontext()
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=console, transient=True)


def _print(outcome: Outcome, progress: Progress | None) -> None:
    """The ones that replay are counted; a line each would hide the others."""
    if outcome.is_good:
        return
    write = print if progress is None else progress.console.print
    write(f"{outcome.name}: {outcome.verdict}")
    for line in outcome.why:
        write(f"  {line}")


def _summary(outcomes: Sequence[Outcome], *, left: int) -> str:
    if not outcomes:
        return "no workflow is found"
    number, good = len(outcomes), sum(outcome.is_good for outcome in outcomes)
    bad = Counter(str(outcome.verdict) for outcome in outcomes if not outcome.is_good)
    text = "".join(f", {count} {verdict}" for verdict, count in bad.most_common())
    more = f"; {left} more are found, see --limit" if left > 0 else ""
    return f"{number} histories, {good} replay{text}{more}" if number != 1 else f"1 history, {good} replay{text}{more}"
