"""Replays recorded workflow histories on the workflow code as it is.

A history comes from ``temporal workflow show --output json`` or from the SDK's ``WorkflowHistory.to_json``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from google.protobuf.json_format import ParseError
from temporalio.client import WorkflowHistory
from temporalio.converter import DataConverter
from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter
from temporalio.worker import Replayer

from workers.order_worker import WORKFLOWS, workflow_runner

MOST_LINES: Final = 8
"""Lines of an error that are shown: the first ones say what diverges, the rest is a stack trace."""
_MESSAGE: Final = re.compile(r'message: ("(?:[^"\\]|\\.)*")')
"""How the SDK quotes the error itself inside a dump of its own structures."""


class NoHistory(Exception):
    """The file is not the history of a workflow."""


def replay_files(paths: Sequence[Path], converter: DataConverter) -> int:
    """Replay each file and print what came of it.

    Returns:
        The exit code: 0 when all replay, 1 when one does not, 2 when a file holds no history.
    """
    return asyncio.run(_replay_files(paths, converter))


async def _replay_files(paths: Sequence[Path], converter: DataConverter) -> int:
    logging.getLogger("temporalio").setLevel(logging.CRITICAL)  # what diverges is reported once, by us
    quiet = TelemetryConfig(logging=LoggingConfig(filter=TelemetryFilter(core_level="OFF", other_level="OFF")))
    replayer = Replayer(
        workflows=WORKFLOWS,
        workflow_runner=workflow_runner(sandbox=True),
        data_converter=converter,
        runtime=Runtime(telemetry=quiet),
    )
    code = 0
    for path in paths:
        try:
            history = read_history(path)
        except NoHistory as error:
            print(f"{path}: {error}", file=sys.stderr)
            code = 2
            continue
        result = await replayer.replay_workflow(history, raise_on_replay_failure=False)
        if result.replay_failure is None:
            print(f"{path}: replays")
            continue
        print(f"{path}: does not replay")
        for line in describe(result.replay_failure):
            print(f"  {line}")
        code = max(code, 1)
    return code


def read_history(path: Path) -> WorkflowHistory:
    """The history in a file, under the workflow id that it names, or else the file's name.

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


def describe(failure: Exception) -> list[str]:
    """The first lines of what the SDK says of a replay that failed, without its dump of structures."""
    quoted = _MESSAGE.search(str(failure))
    text = _unquote(quoted[1]) if quoted else str(failure)
    return text.strip().splitlines()[:MOST_LINES]


def _unquote(quoted: str) -> str:
    try:
        return str(json.loads(quoted))
    except ValueError:  # Rust's escapes that JSON does not know
        return quoted[1:-1]
