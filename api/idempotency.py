"""Requests that take effect once however often they are sent: their headers, and how they are answered."""

from __future__ import annotations

import re
from typing import Annotated, Final, Protocol, TypeAlias, TypeVar

from litestar import Response
from litestar.datastructures import ResponseHeader
from litestar.handlers.base import BaseRouteHandler
from litestar.params import HeaderParameter

from api.auth import Connection
from api.problems import IDEMPOTENCY_KEY_MISSING, ProblemError
from runtime.validation import Violations

DEFAULT_WAIT: Final = 2
LONGEST_WAIT: Final = 30
_WAIT = re.compile(r'\s*wait\s*=\s*"?([0-9]{1,9})"?\s*(;.*)?', re.IGNORECASE)
_KEY = re.compile(r"[\x20-\x7e]{1,255}")

Body = TypeVar("Body")

IdempotencyKey: TypeAlias = Annotated[
    str,
    HeaderParameter(
        name="Idempotency-Key",
        description="1 to 255 printable ASCII characters, chosen anew for each request that is to have an effect.",
    ),
]
Prefer: TypeAlias = Annotated[
    str,
    HeaderParameter(
        name="Prefer",
        description=f"`wait=N` (RFC 7240): seconds to wait for the outcome, 0 to {LONGEST_WAIT};"
        f" {DEFAULT_WAIT} unless given.",
    ),
]
REPLAYED: Final = ResponseHeader(
    name="Idempotency-Replayed",
    documentation_only=True,
    description="`true` when an earlier request with this key had the effect.",
)


class Repeated(Protocol):
    """What a service says of a request: whether it was answered before its outcome, and whether it came before."""

    accepted_only: bool
    replayed: bool


def has_idempotency_key(connection: Connection, _: BaseRouteHandler) -> None:
    """Guard: a request without a key is not taken."""
    if "idempotency-key" not in connection.headers:
        raise ProblemError(IDEMPOTENCY_KEY_MISSING, "Send a key of your own choice as Idempotency-Key.")


def check_key(violations: Violations, idempotency_key: str) -> None:
    """Note what is wrong with a key."""
    if not _KEY.fullmatch(idempotency_key):
        violations.add("Idempotency-Key", "must have 1 to 255 printable ASCII characters")


def preferred_wait(prefer: str) -> int:
    """Seconds that a Prefer header asks to wait, at most the longest; what makes no sense is ignored (RFC 7240)."""
    for preference in prefer.split(","):
        if match := _WAIT.fullmatch(preference):
            return min(int(match[1]), LONGEST_WAIT)
    return DEFAULT_WAIT


def respond(body: Body, answer: Repeated, *, location: str, done: int) -> Response[Body]:
    """The body, with the status code of the first answer under its key: `done`, or 202 before the outcome."""
    headers = {"Location": location, "Cache-Control": "no-store"}
    if answer.replayed:
        headers["Idempotency-Replayed"] = "true"
    if answer.accepted_only:
        headers["Retry-After"] = "1"
    return Response(body, status_code=202 if answer.accepted_only else done, headers=headers)
