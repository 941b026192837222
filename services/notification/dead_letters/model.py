"""Dead letters as the service works with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from runtime.dead_letters import DeadLetter
from services.notification.model import DeadLetterStatus, LetterAction


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a record was read."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What a person did about a dead letter; `refusal` is why the consumer refused it again, or empty."""

    action: LetterAction
    actor: str
    note: str
    refusal: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLetter:
    """A dead letter, where it stands, and what people did about it, in order."""

    id: str
    letter: DeadLetter
    status: DeadLetterStatus
    actions: Sequence[Action]

    @property
    def place(self) -> Place:
        """What people call it by."""
        return Place(topic=self.letter.topic, partition=self.letter.partition, offset=self.letter.offset)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Dead letters, whether more follow the last of them, and how many are open in all."""

    letters: Sequence[StoredLetter]
    has_more: bool
    open: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLetters:
    """How many wait for a person, and since when the oldest of them does; None without any."""

    count: int
    since: datetime | None
