"""What a workflow's code asked for, in the same words from two sides: events of a history, and commands of its code."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.sdk.v1 import UserMetadata
from temporalio.bridge.proto.workflow_commands import WorkflowCommand

LOCAL: Final = "runs the step"
"""The kind of a step's short local attempt, which is one event; the next is that of one that is retried."""
RETRIED: Final = "starts the step"
PATCH: Final = "takes the patch"
TIMER: Final = "starts a timer"
_CHANGE_VERSION: Final = "TemporalChangeVersion"
_LOCAL_MARKER: Final = "core_local_activity"
_PATCH_MARKER: Final = "core_patch"


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that a workflow's code asks Temporal for.

    Attributes:
        kind: a verb, and what it is done to.
        name: of the step, or whatever people know it by; empty where it has none.
        number: which of the local steps it is, counted from 1.
    """

    kind: str
    name: str = ""
    number: int = 0

    def __str__(self) -> str:
        return f"{self.kind} `{self.name}`" if self.name else self.kind

    def fits(self, other: Deed) -> bool:
        """Whether it is the same to Temporal, which looks at the names of steps and patches alone."""
        return self.kind == other.kind and (self.name == other.name or self.kind not in (LOCAL, RETRIED, PATCH))


_EVENTS: Final[Mapping[EventType.ValueType, str]] = {
    EventType.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED: "stops a step",
    EventType.EVENT_TYPE_TIMER_CANCELED: "cancels a timer",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED: "accepts an update",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_COMPLETED: "answers an update",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED: "ends",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED: "fails for good",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED: "ends cancelled",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW: "goes on as a new run",
    EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED: "starts another workflow",
    EventType.EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED: "signals another workflow",
    EventType.EVENT_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED: "cancels another workflow",
    EventType.EVENT_TYPE_WORKFLOW_PROPERTIES_MODIFIED: "sets its memo",
}
_COMMANDS: Final[Mapping[str, str]] = {
    "request_cancel_activity": "stops a step",
    "cancel_timer": "cancels a timer",
    "complete_workflow_execution": "ends",
    "fail_workflow_execution": "fails for good",
    "cancel_workflow_execution": "ends cancelled",
    "continue_as_new_workflow_execution": "goes on as a new run",
    "start_child_workflow_execution": "starts another workflow",
    "signal_external_workflow_execution": "signals another workflow",
    "request_cancel_external_workflow_execution": "cancels another workflow",
    "modify_workflow_properties": "sets its memo",
}


def deeds_of_events(events: Sequence[HistoryEvent]) -> Iterator[tuple[int, Deed]]:
    """What the code asked for when the history was made, each with its event's number."""
    for event in events:
        deed = _of_event(event)
        if deed is not None:
            yield event.event_id, deed


def deeds_of_commands(commands: Sequence[tuple[int, WorkflowCommand]]) -> Iterator[Deed]:
    """What the code asks for now, without what it takes back within the same task: that leaves no event."""
    started = {_started(known, command) for known, command in commands}
    taken_back = {_taken_back(known, command) for known, command in commands} & started - {None}
    for known, command in commands:
        if not {_started(known, command), _taken_back(known, command)} & taken_back:
            deed = _of_command(command)
            if deed is not None:
                yield deed


def _started(known: int, command: WorkflowCommand) -> tuple[int, str, int] | None:
    match command.WhichOneof("variant"):
        case "start_timer":
            return known, TIMER, command.start_timer.seq
        case "schedule_activity":
            return known, RETRIED, command.schedule_activity.seq
        case _:
            return None


def _taken_back(known: int, command: WorkflowCommand) -> tuple[int, str, int] | None:
    match command.WhichOneof("variant"):
        case "cancel_timer":
            return known, TIMER, command.cancel_timer.seq
        case "request_cancel_activity":
            return known, RETRIED, command.request_cancel_activity.seq
        case _:
            return None


def _of_event(event: HistoryEvent) -> Deed | None:
    match event.event_type:
        case EventType.EVENT_TYPE_MARKER_RECORDED:
            return _of_marker(event)
        case EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            return Deed(RETRIED, event.activity_task_scheduled_event_attributes.activity_type.name)
        case EventType.EVENT_TYPE_TIMER_STARTED:
            return Deed(TIMER, _summary(event.user_metadata))
        case EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES:
            names = event.upsert_workflow_search_attributes_event_attributes.search_attributes.indexed_fields
            return None if _CHANGE_VERSION in names else _search_attributes(names)  # that one is the SDK's own
        case kind:
            return Deed(_EVENTS[kind]) if kind in _EVENTS else None


def _of_marker(event: HistoryEvent) -> Deed | None:
    marker = event.marker_recorded_event_attributes
    if marker.marker_name == _PATCH_MARKER:
        return Deed(PATCH, str(_data(marker.details, "patch-data").get("id", "")))
    if marker.marker_name != _LOCAL_MARKER:
        return None
    data = _data(marker.details, "data")
    return Deed(LOCAL, str(data.get("activity_type", "")), int(data.get("seq", 0)))


def _of_command(command: WorkflowCommand) -> Deed | None:
    match command.WhichOneof("variant"):
        case "schedule_local_activity":
            step = command.schedule_local_activity
            return Deed(LOCAL, step.activity_type, step.seq)
        case "schedule_activity":
            return Deed(RETRIED, command.schedule_activity.activity_type)
        case "start_timer":
            return Deed(TIMER, _summary(command.user_metadata))
        case "set_patch_marker":
            return Deed(PATCH, command.set_patch_marker.patch_id)
        case "upsert_workflow_search_attributes":
            return _search_attributes(command.upsert_workflow_search_attributes.search_attributes.indexed_fields)
        case "update_response":
            answer = command.update_response.WhichOneof("response")
            return {"accepted": Deed("accepts an update"), "completed": Deed("answers an update")}.get(answer or "")
        case kind:
            return Deed(_COMMANDS[kind]) if kind is not None and kind in _COMMANDS else None


def _search_attributes(names: Iterable[str]) -> Deed:
    return Deed("sets search attributes", ", ".join(sorted(names)))


def _data(details: Mapping[str, Payloads], name: str) -> Mapping[str, Any]:
    """What the SDK wrote into a marker, in JSON."""
    for payload in details[name].payloads if name in details else ():
        found = _json(payload)
        if isinstance(found, dict):
            return found
    return {}


def _summary(metadata: UserMetadata) -> str:
    """The label of a timer in the Web UI; empty where it is encrypted."""
    found = _json(metadata.summary) if metadata.HasField("summary") else ""
    return found if isinstance(found, str) else ""


def _json(payload: Payload) -> object:
    if payload.metadata.get("encoding") != b"json/plain":
        return None
    try:
        return json.loads(payload.data)
    except ValueError:
        return None
