"""The API's description as a file: what the gateway answers at /docs/openapi.json, made without any gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec

from api.app import create_app

if TYPE_CHECKING:
    from api.services import Services
    from runtime.tokens import TokenVerifier


def openapi_document() -> dict[str, Any]:
    """OpenAPI 3.1, as plain data."""
    nobody = cast("Services", None), cast("TokenVerifier", None)  # which only requests would ask for
    return cast("dict[str, Any]", _with_headers_in_order(create_app(*nobody).openapi_schema.to_schema()))


def _with_headers_in_order(part: Any) -> Any:
    """Litestar keeps the headers of an answer in sets, whose order changes from run to run; the file's must not."""
    match part:
        case dict():
            parts = {name: _with_headers_in_order(value) for name, value in part.items()}
            return {name: dict(sorted(value.items())) if name == "headers" else value for name, value in parts.items()}
        case list():
            return [_with_headers_in_order(value) for value in part]
        case _:
            return part


def openapi_json() -> str:
    """The same as JSON for people and their diffs."""
    return msgspec.json.format(msgspec.json.encode(openapi_document())).decode() + "\n"
