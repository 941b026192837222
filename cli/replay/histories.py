"""Where the histories come from: files, folders, or what Temporal finds for a query."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from google.protobuf.json_format import ParseError
from temporalio.api.history.v1 import History
from temporalio.client import Client, WorkflowHistory
from temporalio.service import RPCStatusCode

from runtime.temporal import TemporalRefused as Refused
from runtime.temporal import ask_temporal

FETCHED_AT_ONCE: Final = 8
"""Histories that are asked for ahead of their replay."""
_CALL: Final = timedelta(seconds=10)


class NoHistory(Exception):
    """The file is not the history of a workflow."""


@dataclass(frozen=True, slots=True)
class Source:
    """A history and the name that people know it by: its file, or its workflow's id.

    Attributes:
        events: the history as bytes, which pass from process to process.
    """

    name: str
    workflow_id: str
    events: bytes

    @classmethod
    def of(cls, name: str, history: WorkflowHistory) -> Source:
        """From the SDK's own form."""
        return cls(name, history.workflow_id, History(events=history.events).SerializeToString())

    def history(self) -> WorkflowHistory:
        """In the SDK's own form."""
        return WorkflowHistory(self.workflow_id, list(History.FromString(self.events).events))


def find_files(paths: Sequence[Path]) -> Iterator[Path]:
    """The files, and the `*.json` of folders and the folders in them."""
    for path in paths:
        if path.is_dir():
            yield from sorted(path.rglob("*.json"))
        else:
            yield path


def read_history(path: Path) -> WorkflowHistory:
    """The history in a file, under the workflow id that it names, or else the file's name.

    It comes from ``temporal workflow show --output json``, or from the SDK's ``WorkflowHistory.to_json``.

    Raises:
        NoHistory: the file cannot be read, is not JSON, or is not a workflow's history from its start.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise NoHistory(f"cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # not UTF-8, or not JSON
        raise NoHistory(f"is no workflow history, not even JSON: {error}") from None
    try:
        history = WorkflowHistory.from_json(path.stem, document)
    except (ParseError, ValueError, TypeError, AttributeError, KeyError) as error:  # the SDK trusts the form
        raise NoHistory(f"is no workflow history: {error}") from None
    # the SDK waits for ever on a history that does not begin so
    start = history.events[0].workflow_execution_started_event_attributes if history.events else None
    if start is None or not start.original_execution_run_id or not start.workflow_type.name:
        raise NoHistory("is no workflow history: it does not begin with the event of a workflow that was started")
    return WorkflowHistory(start.workflow_id or path.stem, history.events)


async def count(client: Client, query: str) -> int:
    """How many workflows a visibility query finds, more or less.

    Raises:
        TemporalAway: repeat.
        TemporalRefused: the query, or the asking, is refused.
    """
    found = await ask_temporal(lambda: client.count_workflows(query, rpc_timeout=_CALL), within=_CALL)
    return found.count


async def fetch(client: Client, query: str, *, limit: int) -> AsyncIterator[Source]:
    """The histories of the newest workflows that the query finds; those deleted meanwhile are left out.

    Raises:
        TemporalAway: repeat.
        TemporalRefused: the query, or the asking, is refused.
    """
    listed = client.list_workflows(query, limit=limit, rpc_timeout=_CALL)
    pending: list[asyncio.Task[Source | None]] = []
    try:
        while True:
            while len(pending) < FETCHED_AT_ONCE:
                found = await ask_temporal(lambda: anext(listed, None), within=_CALL)
                if found is None:
                    break
                pending.append(asyncio.create_task(_fetch_one(client, found.id, found.run_id)))
            if not pending:
                return
            source = await pending.pop(0)
            if source is not None:
                yield source
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


async def _fetch_one(client: Client, workflow_id: str, run_id: str) -> Source | None:
    handle = client.get_workflow_handle(workflow_id, run_id=run_id)
    try:
        history = await ask_temporal(lambda: handle.fetch_history(rpc_timeout=_CALL), within=_CALL)
    except Refused as refused:
        if refused.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
    return Source.of(workflow_id, history)
