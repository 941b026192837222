"""What a replay says of one history: whether the code fits it, and if not, where it first differs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.converter import DataConverter

from cli.replay.deeds import LOCAL, Deed, deeds_of_commands, deeds_of_events
from cli.replay.recording import Recording
from runtime.temporal_codec import UnreadablePayload

_QUOTED: Final = re.compile(r'message: ("(?:[^"\\]|\\.)*")')
"""How the SDK quotes the error itself inside a dump of its own structures."""
_CLOSED: Final = frozenset(
    {
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW,
    }
)


class Verdict(StrEnum):
    """What came of a replay.

    Attributes:
        REPLAYS: the code does what the history says, and its pending task raises no error as far as it gets.
        DIFFERS: it does something else, or fails, where the history goes on.
        FAILS: it fails in the task that is pending, for which there is nothing in the history yet.
        UNKNOWN: the pending task failed at the server, and a replay does not get to where.
    """

    REPLAYS = "replays"
    DIFFERS = "does not replay"
    FAILS = "its pending task fails"
    UNKNOWN = "cannot be told by a replay"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one history.

    Attributes:
        name: of its file, or its workflow.
        event_id: the first event that the code does not fit, or the last one before a pending task that fails.
        why: in words, line by line.
    """

    name: str
    verdict: Verdict
    event_id: int | None = None
    why: Sequence[str] = ()

    @property
    def is_good(self) -> bool:
        """Whether a worker with this code can go on with the workflow, as far as can be told."""
        return self.verdict is Verdict.REPLAYS


async def judge(
    name: str,
    events: Sequence[HistoryEvent],
    recording: Recording,
    failure: Exception | None,
    converter: DataConverter,
) -> Outcome:
    """Make an outcome of what the code did, and of what the SDK says of it."""
    last_done = max(_ids(events, EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED), default=0)
    raised = await _raised(recording, converter)
    is_pending = raised is not None and recording.failed_at > last_done
    if (raised is not None or failure is not None) and not is_pending:
        return _differs(name, events, recording, raised or _first_line(failure))
    failed = await _failed_at_server(events, last_done, converter)
    if raised is not None:
        why = [f"after event {last_done} its workflow task is pending, and fails here: {raised}", *failed]
        return Outcome(name, Verdict.FAILS, last_done, why)
    reached = list(deeds_of_commands([(known, deed) for known, deed in recording.commands if known > last_done]))
    if failed and any(deed.kind == LOCAL for deed in reached):
        why = [*failed, f"here it {reached[-1]}, whose answer is in no history: a replay cannot tell what follows"]
        return Outcome(name, Verdict.UNKNOWN, last_done, why)
    return Outcome(name, Verdict.REPLAYS)


def _differs(name: str, events: Sequence[HistoryEvent], recording: Recording, error: str) -> Outcome:
    """Where, by comparing deed with deed; the SDK's own words where that finds nothing."""
    commands = list(deeds_of_commands(recording.commands))
    first = min(_differences(list(deeds_of_events(events)), commands), key=lambda found: found[0], default=None)
    if first is None:
        return Outcome(name, Verdict.DIFFERS, None, [error])
    event_id, recorded, deed = first
    if deed is not None:
        here = f"here the code {deed}"
    else:  # the code had come no further
        here = "here the code does not" if recording.failure is None else f"here it fails: {error}"
    why = [f"event {event_id}: the workflow {recorded}; {here}"]
    if error not in why[0]:
        why.append(error)
    return Outcome(name, Verdict.DIFFERS, event_id, why)


def _differences(
    recorded: Sequence[tuple[int, Deed]], commands: Sequence[Deed]
) -> Iterator[tuple[int, Deed, Deed | None]]:
    """The first one among the local steps, which have numbers, and the first among all else, which has its order."""
    by_number = {deed.number: deed for deed in commands if deed.kind == LOCAL}
    numbers = {deed.number for _, deed in recorded if deed.kind == LOCAL}
    added = next((deed for deed in by_number.values() if deed.number not in numbers), None)
    others = iter([deed for deed in commands if deed.kind != LOCAL])
    locals_differ = others_differ = False
    for event_id, deed in recorded:
        if deed.kind == LOCAL and not locals_differ:
            found = by_number.get(deed.number)
            locals_differ = found is None or not deed.fits(found)
            if locals_differ:
                yield event_id, deed, found or added
        elif deed.kind != LOCAL and not others_differ:
            found = next(others, None)
            others_differ = found is None or not deed.fits(found)
            if others_differ:
                yield event_id, deed, found


async def _raised(recording: Recording, converter: DataConverter) -> str | None:
    """Why the code's task failed, in words; None if it did not."""
    if recording.failure is not None:
        return await _in_words(recording.failure, converter)
    if recording.began_at is not None:
        recording.failed_at = recording.began_at
        return "the code does not come back, which counts as a deadlock"
    return None


async def _failed_at_server(events: Sequence[HistoryEvent], last_done: int, converter: DataConverter) -> list[str]:
    """How the pending task failed at the server, in a line; none if it did not, or if the workflow is closed."""
    if events[-1].event_type in _CLOSED:
        return []
    for event in reversed(events):
        failed = event.workflow_task_failed_event_attributes
        if event.event_id <= last_done:
            break
        if failed.cause == WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_WORKER_UNHANDLED_FAILURE:
            return [f"event {event.event_id}: at the server it failed: {await _in_words(failed.failure, converter)}"]
    return []


async def _in_words(failure: Failure, converter: DataConverter) -> str:
    """The error, and what caused it, without a stack."""
    own = Failure()
    own.CopyFrom(failure)  # decoding changes it
    try:
        error: BaseException | None = await converter.decode_failure(own)
    except UnreadablePayload as unreadable:
        return str(unreadable)
    words = []
    while error is not None:
        words.append(" ".join(str(error).split()))
        error = error.__cause__
    return ", caused by ".join(words)


def _first_line(failure: Exception | None) -> str:
    """What the SDK says of a replay that failed, without its dump of structures."""
    quoted = _QUOTED.search(str(failure))
    text = _unquote(quoted[1]) if quoted else str(failure)
    return text.strip().partition("\n")[0]


def _unquote(quoted: str) -> str:
    try:
        return str(json.loads(quoted))
    except ValueError:  # Rust's escapes that JSON does not know
        return quoted[1:-1]


def _ids(events: Sequence[HistoryEvent], kind: EventType.ValueType) -> Iterator[int]:
    return (event.event_id for event in events if event.event_type == kind)
