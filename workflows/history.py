"""The bound of a workflow's history: one that waits, and is woken again and again, goes on in a run of its own.

Each wake-up costs about seven events, and Temporal ends a workflow whose history has 51,200. What a workflow waits for
is kept by the services, so that a new run finds out where it stands, as it does after a repair.
"""

from __future__ import annotations

from typing import Final

from temporalio import workflow

MAX_EVENTS: Final = 2_000
"""After so many a wait goes on in a new run: a common order has 20, one with every attempt and retry below 200."""
_BOUNDED: Final = "bounded-history"
"""Patch: before it, a run had all events of its order."""


def is_full() -> bool:
    """Whether a workflow that waits is to go on in a new run; not while somebody waits for an answer of this one."""
    return (
        workflow.info().get_current_history_length() > MAX_EVENTS
        and workflow.all_handlers_finished()
        and workflow.patched(_BOUNDED)
    )
