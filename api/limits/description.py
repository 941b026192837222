"""What the OpenAPI document says of limits: of every operation, since each has some."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Final

_METHODS: Final = frozenset({"get", "put", "post", "delete", "patch"})
_STATUS: Final = "429"
_ALIKE: Final = "500"
"""The problem that every operation declares; a 429 is one, too."""
_TEXT: Final[dict[str, Any]] = {"type": "string"}

HEADERS: Final[dict[str, Any]] = {
    "RateLimit-Policy": {
        "description": "The limits that were asked: `q` requests in `w` seconds"
        " (draft-ietf-httpapi-ratelimit-headers).",
        "schema": _TEXT,
        "example": '"orders";q=30;w=60',
    },
    "RateLimit": {
        "description": "What is left of each: `r` requests; all are back in `t` seconds, or, where none is left, one.",
        "schema": _TEXT,
        "example": '"orders";r=29;t=2',
    },
}
_RETRY_AFTER: Final[dict[str, Any]] = {
    "Retry-After": {
        "description": "Seconds until the request may be sent again.",
        "schema": {"type": "integer", "minimum": 1},
        "example": 2,
    },
}


def describe_limits(document: dict[str, Any]) -> None:
    """Add the headers to each operation's answers, and the answer to who asks too often."""
    for path in document["paths"].values():
        for method, operation in path.items():
            if method in _METHODS:
                _describe(operation["responses"])


def _describe(responses: dict[str, Any]) -> None:
    for status, response in responses.items():
        if status.startswith("2"):
            response.setdefault("headers", {}).update(HEADERS)
    responses[_STATUS] = {
        "description": "Too Many Requests",
        "headers": {**_RETRY_AFTER, **HEADERS},
        "content": deepcopy(responses[_ALIKE]["content"]),
    }
