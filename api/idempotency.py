"""Requests that take effect once however often they are sent: what they declare, are sent on as, and answered with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Final, Protocol, TypeAlias, TypeVar
from uuid import UUID, uuid5

import grpc.aio
from litestar import Response
from litestar.datastructures import ResponseHeader
from litestar.handlers.base import BaseRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import HeaderParameter

from api.auth import Connection
from api.problems import IDEMPOTENCY_KEY_MISSING, ProblemError, declared
from api.services import Services
from domain.ids import new_id
from domain.limits import DEFAULT_WAIT_SECONDS, LONGEST_WAIT_SECONDS, MAX_IDEMPOTENCY_KEY
from runtime.caller import Caller
from runtime.rpc_client import call
from runtime.validation import Violations

_WAIT = re.compile(r'\s*wait\s*=\s*"?([0-9]{1,9})"?\s*(;.*)?', re.IGNORECASE)
_KEY = re.compile(rf"[\x20-\x7e]{{1,{MAX_IDEMPOTENCY_KEY}}}")
_KEY_RULE: Final = f"1 to {MAX_IDEMPOTENCY_KEY} printable ASCII characters"
_EXAMPLES: Final = [Example(value="0193785a-8c2f-7b1e-9a54-3d1c52b7e8f0")]
# documented alone: `check_key` has better words. HTTP drops spaces around a header's value (RFC 9110, 5.5).
_SCHEMA: Final = {
    "pattern": r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$",
    "minLength": 1,
    "maxLength": MAX_IDEMPOTENCY_KEY,
}

IdempotencyKey: TypeAlias = Annotated[
    str,
    HeaderParameter(
        name="Idempotency-Key",
        description=f"{_KEY_RULE}, chosen anew for each request that is to have an effect; known for 24 hours.",
        examples=_EXAMPLES,
        schema_extra=_SCHEMA,
    ),
]
OptionalKey: TypeAlias = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        description=f"{_KEY_RULE}: the request may be repeated with it, and takes effect once. Without one, each takes"
        " effect.",
        examples=_EXAMPLES,
        schema_extra=_SCHEMA,
    ),
]
Prefer: TypeAlias = Annotated[
    str,
    HeaderParameter(
        name="Prefer",
        description=f"`wait=N` (RFC 7240): seconds to wait for the outcome, 0 to {LONGEST_WAIT_SECONDS};"
        f" {DEFAULT_WAIT_SECONDS} unless given.",
    ),
]
REPLAYED: Final = ResponseHeader(
    name="Idempotency-Replayed",
    documentation_only=True,
    description="`true` when an earlier request with this key had the effect.",
)


class IdempotentMessage(Protocol):
    """A request to a service that takes effect once."""

    idempotency_key: str
    wait_ms: int


class Repeated(Protocol):
    """What a service says of a request: whether it was answered before its outcome, and whether it came before."""

    accepted_only: bool
    replayed: bool


Body = TypeVar("Body")
Message = TypeVar("Message", bound=IdempotentMessage)
Answer = TypeVar("Answer", bound=Repeated)


def answers(kind: type[Any], *, accepted: str, problems: Sequence[int]) -> dict[int, ResponseSpec]:
    """What an operation may answer with besides its outcome, for its OpenAPI description.

    Args:
        kind: its answer.
        accepted: what 202 means.
        problems: the statuses of the problems that it may answer with.
    """
    return {202: ResponseSpec(kind, generate_examples=False, description=accepted), **declared(*problems)}


def answer_headers(*, location: str) -> list[ResponseHeader]:
    """The headers of these answers, for the OpenAPI description; `location` says what is there."""
    return [ResponseHeader(name="Location", documentation_only=True, description=location), REPLAYED]


def has_idempotency_key(connection: Connection, _: BaseRouteHandler) -> None:
    """Guard: a request without a key is not taken."""
    if "idempotency-key" not in connection.headers:
        raise ProblemError(IDEMPOTENCY_KEY_MISSING, "Send a key of your own choice as Idempotency-Key.")


def check_key(violations: Violations, idempotency_key: str) -> None:
    """Note what is wrong with a key."""
    if not _KEY.fullmatch(idempotency_key):
        violations.add("Idempotency-Key", f"must have {_KEY_RULE}")


def id_for(idempotency_key: str | None, *, caller: Caller, route: str) -> str:
    """The id of what a request makes, where the service makes one thing per id: a caller's key stands for one id.

    Args:
        idempotency_key: as it was sent, if one was.
        caller: whose key it is.
        route: method and path, such as ``POST /v1/orders``.

    Raises:
        InvalidArgument: it is no key.
    """
    key = sent_key(idempotency_key)
    return str(uuid5(UUID(caller.key), f"{route}\n{key}")) if key else new_id()


def sent_key(idempotency_key: str | None) -> str:
    """A key that may be left out, as services take it: empty if it was.

    Raises:
        InvalidArgument: it is no key.
    """
    if idempotency_key is None:
        return ""
    with Violations() as violations:
        check_key(violations, idempotency_key)
    return idempotency_key


def preferred_wait(prefer: str) -> int:
    """Seconds that a Prefer header asks to wait, at most the longest; what makes no sense is ignored (RFC 7240)."""
    for preference in prefer.split(","):
        if match := _WAIT.fullmatch(preference):
            return min(int(match[1]), LONGEST_WAIT_SECONDS)
    return DEFAULT_WAIT_SECONDS


async def send(
    method: grpc.aio.UnaryUnaryMultiCallable[Message, Answer],
    message: Message,
    *,
    key: str,
    prefer: str,
    caller: Caller,
    services: Services,
) -> Answer:
    """Send a request on with its key, and wait for its outcome as long as its Prefer header asks for.

    Raises:
        CallRefused: the service refused.
        ServiceUnavailable: it does not answer.
    """
    wait = preferred_wait(prefer)
    message.idempotency_key, message.wait_ms = key, wait * 1_000
    return await call(method, message, caller=caller, deadline=wait + services.deadline)


def respond(body: Body, answer: Repeated, *, location: str, done: int) -> Response[Body]:
    """The body, with the status code of the first answer under its key: `done`, or 202 before the outcome."""
    headers = {"Location": location, "Cache-Control": "no-store"}
    if answer.replayed:
        headers["Idempotency-Replayed"] = "true"
    if answer.accepted_only:
        headers["Retry-After"] = "1"
    return Response(body, status_code=202 if answer.accepted_only else done, headers=headers)
