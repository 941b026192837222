"""Why the codec server did not answer as asked, as problems (RFC 9457) of the kinds that the gateway has."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from litestar import Request, Response
from litestar.exceptions import HTTPException

from runtime.http_limits import PROBLEM_MEDIA_TYPE, problem_urn


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem: its HTTP status, the last part of its URN, and its title."""

    status: int
    name: str
    title: str


UNREADABLE_PAYLOADS: Final = Kind(400, "bad-request", "The payloads cannot be read")
MISSING_TOKEN: Final = Kind(401, "missing-token", "An admin's access token is needed")
INVALID_TOKEN: Final = Kind(401, "invalid-token", "The access token is not valid")
EXPIRED_TOKEN: Final = Kind(401, "expired-token", "The access token has expired")
BAD_CREDENTIALS: Final = Kind(401, "bad-credentials", "E-mail or password is wrong")
FORBIDDEN: Final = Kind(403, "forbidden", "Your role does not allow this")
FOREIGN_ORIGIN: Final = Kind(403, "foreign-origin", "The page that asks is none of ours")
TOO_MANY_REQUESTS: Final = Kind(429, "too-many-requests", "Too many attempts to sign in")
SERVICE_UNAVAILABLE: Final = Kind(503, "service-unavailable", "The user service does not answer")


class ProblemError(Exception):
    """A request is not served, for this reason; it may be sent again in `retry_after` seconds, if that is known."""

    def __init__(self, kind: Kind, detail: str, *, retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.retry_after = retry_after


def to_response(_: Request[Any, Any, Any], error: ProblemError) -> Response[str]:
    """As an answer."""
    return _response(error.kind.status, error.kind.name, error.kind.title, error.detail)


def from_http(_: Request[Any, Any, Any], error: HTTPException) -> Response[str]:
    """What Litestar refuses by itself: another path, another method, a body that is too large."""
    status = HTTPStatus(error.status_code)
    return _response(status, status.phrase.lower().replace(" ", "-"), status.phrase, error.detail)


def _response(status: int, name: str, title: str, detail: str) -> Response[str]:
    body = {"type": problem_urn(name), "title": title, "status": int(status), "detail": detail}
    challenge = {"WWW-Authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else {}
    return Response(json.dumps(body), status_code=status, media_type=PROBLEM_MEDIA_TYPE, headers=challenge)
