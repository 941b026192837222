"""What Litestar says of the API less exactly than the gateway takes it, said exactly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from api.schemas.fields import Request

_OPERATIONS: Final = frozenset({"get", "put", "post", "delete", "patch"})
_NULL: Final[dict[str, Any]] = {"type": "null"}
_TEXT: Final[dict[str, Any]] = {"type": "string"}
_BOUNDS: Final = ("minimum", "maximum")
_CHALLENGE: Final[dict[str, Any]] = {
    "WWW-Authenticate": {
        "description": "How to come in (RFC 6750, section 3).",
        "required": True,
        "schema": _TEXT,
        "example": "Bearer",
    }
}
_SOON: Final[dict[str, Any]] = {
    "Retry-After": {
        "description": "Seconds until it is worth another try.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
        "example": 1,
    }
}
_HEADERS_OF_PROBLEMS: Final[dict[str, dict[str, Any]]] = {"401": _CHALLENGE, "503": _SOON}
_RAW_BODIES: Final[dict[str, dict[str, Any]]] = {
    "receiveStripeEvent": {
        "description": "An event as Stripe writes it, byte by byte: https://docs.stripe.com/api/events/object",
        "required": True,
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}
"""Bodies that are taken as they are, of which Litestar knows nothing."""


def operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every operation of a document."""
    for path in document["paths"].values():
        for method, operation in path.items():
            if method in _OPERATIONS:
                yield operation


def describe_exactly(document: dict[str, Any]) -> None:
    """Say of parameters, bodies and headers what is taken, and what comes."""
    schemas: dict[str, Any] = document["components"]["schemas"]
    for kind in _requests(Request):
        if kind.__name__ in schemas:
            schemas[kind.__name__]["additionalProperties"] = False
    for operation in operations(document):
        for parameter in operation.get("parameters", ()):
            parameter["schema"] = _without_null(parameter["schema"])
        if operation["operationId"] in _RAW_BODIES:
            operation["requestBody"] = _RAW_BODIES[operation["operationId"]]
        for status, response in operation["responses"].items():
            for header in response.get("headers", {}).values():
                header.setdefault("schema", _TEXT)
            if status in _HEADERS_OF_PROBLEMS:
                response["headers"] = response.get("headers", {}) | _HEADERS_OF_PROBLEMS[status]
    _whole_bounds(document)


def _requests(kind: type[Request]) -> Iterator[type[Request]]:
    for each in kind.__subclasses__():
        yield each
        yield from _requests(each)


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter is there or not; none is null."""
    choices = [choice for choice in schema.get("oneOf", ()) if choice != _NULL]
    if len(choices) != 1:
        return schema
    return {**choices[0], **{keyword: value for keyword, value in schema.items() if keyword != "oneOf"}}


def _whole_bounds(part: Any) -> None:
    """Bounds of whole numbers are whole numbers."""
    match part:
        case dict():
            for name in _BOUNDS:
                if isinstance(part.get(name), float) and part.get("type") == "integer":
                    part[name] = int(part[name])
            for each in part.values():
                _whole_bounds(each)
        case list():
            for each in part:
                _whole_bounds(each)
