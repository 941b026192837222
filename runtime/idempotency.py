"""Requests that take effect once per user, route and Idempotency-Key, however often they are sent.

The first request claims the key in the transaction that it takes effect in. Whoever comes with the same key then gets
what that one made, as it is by now, with the code of the first answer. That code is not stored but derived, so that it
is the same whoever answers first, and whoever died before it answered: a request waits for an outcome until the moment
`answer_by` that its key keeps; what came about by then is answered as the outcome, anything else as accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, LiteralString

from sqlalchemy import Text, Uuid
from sqlmodel import Field, SQLModel

from domain.refusals import Refusal
from runtime.database import Connection, timestamp
from runtime.fingerprint import fingerprint
from runtime.refusal import Refused

CLAIM_KEY: Final[LiteralString] = """
    INSERT INTO idempotency_keys (user_id, route, key, request_hash, subject_id, answer_by, created_at)
    VALUES (%(key_user_id)s, %(key_route)s, %(key)s, %(key_request_hash)s, %(key_subject_id)s, %(key_answer_by)s, now())
    ON CONFLICT DO NOTHING
    RETURNING subject_id
"""
"""Claims a key, as a statement or as a part of one: a row comes back unless it is claimed; waits for a concurrent
duplicate that is just claiming it. Its parameters come from `IdempotentRequest.claim`."""


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


class IdempotencyKeyReused(Refused):
    """The idempotency key stands for another request."""

    refusal = Refusal.IDEMPOTENCY_KEY_REUSED

    def __init__(self, key: str) -> None:
        super().__init__("this Idempotency-Key was used with another request; take a new key", key=key)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotentRequest:
    """A request with its key.

    Attributes:
        user_id: whose key it is.
        route: method and path, such as ``POST /v1/orders``.
        request_hash: tells it from another request, see `runtime.fingerprint`.
        answer_by: how long it waits for an outcome.
    """

    user_id: str
    route: str
    key: str
    request_hash: str
    answer_by: datetime

    @classmethod
    def of(cls, content: Mapping[str, object], *, user_id: str, route: str, key: str, wait: float) -> IdempotentRequest:
        """A request that comes in now and waits `wait` seconds for an outcome."""
        return cls(
            user_id=user_id,
            route=route,
            key=key,
            request_hash=fingerprint(content),
            answer_by=datetime.now(UTC) + timedelta(seconds=wait),
        )

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
    """The request that claimed a key: what it made, or was about, and until when it waited for an outcome."""

    subject_id: str
    answer_by: datetime

    def answered_with(self, outcome_at: datetime | None) -> bool:
        """Whether its answer was the outcome, which came about at that moment if it did; else it was accepted."""
        return outcome_at is not None and outcome_at <= self.answer_by

    @property
    def seconds_left(self) -> float:
        """How much longer it waits; 0 once it has been answered."""
        return max((self.answer_by - datetime.now(UTC)).total_seconds(), 0)


class IdempotencyKeys:
    """Idempotency keys, on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def claim(self, request: IdempotentRequest, *, subject_id: str) -> bool:
        """Let the key stand for the request, unless it is claimed; waits for a concurrent duplicate that claims it."""
        return await self._connection.execute(CLAIM_KEY, **request.claim(subject_id)) == 1

    async def get_first(self, request: IdempotentRequest) -> FirstRequest:
        """The request that claimed the key.

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
        return FirstRequest(**found)  # type: ignore[arg-type]  # the columns of its fields
