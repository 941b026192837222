"""Requests that take effect once per user, route and Idempotency-Key, however often they are sent.

The first request claims the key in the transaction that it takes effect in. Whoever comes with the same key then gets
what that one made, as it is by now, with the code of the first answer. That code is not stored but derived, so that it
is the same whoever answers first, and whoever died before it answered: what came about by the moment `answer_by` that
the key keeps is answered as the outcome, anything else as accepted. A concurrent duplicate waits until then, however
short its own wait is, and is refused if its caller does not wait for so long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, LiteralString

from sqlalchemy import Index, Text, Uuid
from sqlmodel import Field, SQLModel

from domain.refusals import Refusal
from runtime.database import Connection, timestamp
from runtime.deadline import time_left
from runtime.fingerprint import fingerprint
from runtime.refusal import Refused
from runtime.retention import Rule, delete_by_age

CLAIM_KEY: Final[LiteralString] = """
    INSERT INTO idempotency_keys (user_id, route, key, request_hash, subject_id, answer_by, created_at)
    VALUES (%(key_user_id)s, %(key_route)s, %(key)s, %(key_request_hash)s, %(key_subject_id)s, %(key_answer_by)s, now())
    ON CONFLICT DO NOTHING
    RETURNING subject_id
"""
"""Claims a key, as a statement or as a part of one: a row comes back unless it is claimed; waits for a concurrent
duplicate that is just claiming it. Its parameters come from `IdempotentRequest.claim`."""


SETTLING: Final = 0.1
"""Seconds before the end of a wait from which on an outcome is not the answer any more: it may have come about, and not
be seen yet by the one who ends the wait."""
_MARGIN: Final = 0.5
"""Seconds before its caller's deadline at which a duplicate waits no longer."""


class IdempotencyKeyColumns(SQLModel):
    """The columns of a service's table ``idempotency_keys``."""

    user_id: str = Field(sa_type=Uuid(as_uuid=False), primary_key=True)
    route: str = Field(sa_type=Text, primary_key=True)
    key: str = Field(sa_type=Text, primary_key=True)
    request_hash: str = Field(sa_type=Text)
    subject_id: str = Field(sa_type=Uuid(as_uuid=False))
    """What the request made, or was about."""
    answer_by: datetime = timestamp()
    """An outcome that came about by then was the answer; else the answer was that the request is accepted."""
    created_at: datetime = timestamp()


def idempotency_key_index() -> Index:
    """By which old keys are found."""
    return Index("ix_idempotency_keys_created_at", "created_at")


class IdempotencyKeyReused(Refused):
    """The idempotency key stands for another request."""

    refusal = Refusal.IDEMPOTENCY_KEY_REUSED

    def __init__(self, key: str) -> None:
        super().__init__("this Idempotency-Key was used with another request; take a new key", key=key)


class IdempotencyKeyInUse(Refused):
    """The first request with this key has not been answered yet."""

    refusal = Refusal.IDEMPOTENCY_KEY_IN_USE

    def __init__(self, key: str) -> None:
        super().__init__(
            "the first request with this Idempotency-Key is being answered; repeat this one later", key=key
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotentRequest:
    """A request with its key.

    Attributes:
        user_id: whose key it is.
        route: method and path, such as ``POST /v1/orders``.
        request_hash: tells it from another request, see `runtime.fingerprint`.
        answer_by: until when it waits for an outcome, but for `SETTLING`.
    """

    user_id: str
    route: str
    key: str
    request_hash: str
    answer_by: datetime

    @classmethod
    def of(
        cls,
        content: Mapping[str, object],
        *,
        user_id: str,
        route: str,
        key: str,
        wait: float,
        at: datetime | None = None,
    ) -> IdempotentRequest:
        """A request that waits `wait` seconds for an outcome, from when it came in: now, unless `at` says otherwise."""
        return cls(
            user_id=user_id,
            route=route,
            key=key,
            request_hash=fingerprint(content),
            answer_by=(at or datetime.now(UTC)) + timedelta(seconds=max(wait - SETTLING, 0)),
        )

    def as_first(self, subject_id: str) -> FirstRequest:
        """This request, once it has claimed its key."""
        return FirstRequest(key=self.key, subject_id=subject_id, answer_by=self.answer_by, replayed=False)

    def claim(self, subject_id: str) -> Mapping[str, object]:
        """The parameters of `CLAIM_KEY`, for what the request makes, or is about."""
        return {
            "key_user_id": self.user_id,
            "key_route": self.route,
            "key": self.key,
            "key_request_hash": self.request_hash,
            "key_subject_id": subject_id,
            "key_answer_by": self.answer_by,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstRequest:
    """The request that claimed a key, for whoever comes with it: that request itself, or one that repeats it.

    Attributes:
        subject_id: what it made, or was about.
        answer_by: an outcome that came about by then was its answer.
        replayed: whether the one who has this is another one.
    """

    key: str
    subject_id: str
    answer_by: datetime
    replayed: bool

    def seconds_to_wait(self, wait: float, *, at: datetime) -> float:
        """How long to wait for an outcome, `at` this moment, whose request waits for `wait` seconds.

        A concurrent duplicate waits until the first request is answered, unless its caller gives up before.
        """
        if not self.replayed:
            return wait
        left = max((self.answer_by - at).total_seconds() + SETTLING, 0)
        callers = time_left()
        return left if callers is None else min(left, max(callers - _MARGIN, 0))

    def answered_with(self, outcome_at: datetime | None, *, at: datetime) -> bool:
        """Whether the answer is the outcome, which came about at that moment if it did; else it is "accepted".

        Args:
            outcome_at: when the outcome came about; None if it did not.
            at: this moment, after the wait.

        Raises:
            IdempotencyKeyInUse: what the first request is answered is not known yet.
        """
        if self.replayed and outcome_at is None and at < self.answer_by:
            raise IdempotencyKeyInUse(self.key)
        return outcome_at is not None and outcome_at <= self.answer_by


class IdempotencyKeys:
    """Idempotency keys, on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def claim(self, request: IdempotentRequest, *, subject_id: str) -> bool:
        """Let the key stand for the request, unless it is claimed; waits for a concurrent duplicate that claims it."""
        return await self._connection.execute(CLAIM_KEY, **request.claim(subject_id)) == 1

    async def get_first(self, request: IdempotentRequest) -> FirstRequest:
        """The earlier request that claimed the key.

        Raises:
            IdempotencyKeyReused: that was another request.
            LookupError: nobody claimed it.
        """
        found = await self._connection.fetch_one(
            dict[str, object],
            """
            SELECT request_hash, subject_id, answer_by FROM idempotency_keys
             WHERE user_id = %(user_id)s AND route = %(route)s AND key = %(key)s
            """,
            user_id=request.user_id,
            route=request.route,
            key=request.key,
        )
        if found is None:
            raise LookupError(f"key {request.key!r} of user {request.user_id} stands for nothing")
        if found.pop("request_hash") != request.request_hash:
            raise IdempotencyKeyReused(request.key)
        return FirstRequest(key=request.key, replayed=True, **found)  # type: ignore[arg-type]  # the columns of its fields


def key_rule(kept: timedelta) -> Rule:
    """Forgets keys that were claimed so long ago: a request that comes with one then is as if it were the first."""
    return delete_by_age("idempotency_keys", at="created_at", kept=kept)
