"""What a command changed, as the rules say it and the ledger stores it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sandbox.stripe.errors import ApiError
from sandbox.stripe.events import EventType
from sandbox.stripe.resources import Resource

Subject = TypeVar("Subject", bound=Resource)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change(Generic[Subject]):
    """What a command did: its subject as it is now, what else is to be stored, and the events in order.

    With an error the command is answered by that, and the change is stored all the same.
    """

    subject: Subject
    also: tuple[Resource, ...] = ()
    events: tuple[tuple[EventType, Resource], ...] = ()
    error: ApiError | None = None

    def after(self, earlier: Change[Subject]) -> Change[Subject]:
        """Both changes of one subject as one."""
        return dataclasses.replace(self, also=(*earlier.also, *self.also), events=(*earlier.events, *self.events))

    def followed_by(self, other: Change[Any]) -> Change[Subject]:
        """This change and what it brought about on another object."""
        also = (*self.also, *other.also, other.subject)
        return dataclasses.replace(self, also=also, events=(*self.events, *other.events))
