"""Reads that a client need not be sent again (RFC 9110, section 13.1.2): If-None-Match, and 304."""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Final, TypeAlias, TypeVar

import msgspec
from litestar import Response
from litestar.datastructures import ResponseHeader
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import HeaderParameter

Body = TypeVar("Body")

IfNoneMatch: TypeAlias = Annotated[
    str, HeaderParameter(name="If-None-Match", description="The `ETag` of what you have: 304 if it is still that.")
]
ETAG: Final = ResponseHeader(
    name="ETag", documentation_only=True, description="Changes with whatever of the answer does."
)
NOT_MODIFIED: Final = {304: ResponseSpec(None, generate_examples=False, description="It is what you have.")}
"""For the OpenAPI description."""
_OPAQUE: Final = re.compile(r'(?:W/)?"([\x21\x23-\x7e]*)"')
_LETTERS: Final = 32


def respond_unless_known(body: Body, if_none_match: str, *, headers: dict[str, str]) -> Response[Body]:
    """The body, or 304 if its tag is among those that the client has.

    The tag is weak: it is of what the body says, however that is encoded or compressed on its way.
    """
    opaque = hashlib.sha256(msgspec.json.encode(body)).hexdigest()[:_LETTERS]
    answered = {**headers, "ETag": f'W/"{opaque}"'}
    if if_none_match.strip() == "*" or opaque in _OPAQUE.findall(if_none_match):
        return Response(None, status_code=304, headers=answered)  # type: ignore[arg-type]  # 304 has no body
    return Response(body, headers=answered)
