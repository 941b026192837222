"""The client that tokens go to, as the user service is told of it."""

from __future__ import annotations

from typing import Any

from litestar import Request

from ordersaga.user.v1 import user_pb2 as pb


def client_traits(request: Request[Any, Any, Any]) -> pb.ClientTraits:
    """Its address, and what it calls itself."""
    return pb.ClientTraits(
        address=request.client.host if request.client else "", user_agent=request.headers.get("user-agent", "")
    )
