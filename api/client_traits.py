"""The client that tokens go to, as the user service is told of it."""

from __future__ import annotations

from typing import Any

from litestar import Request

from api.client_address import address_of
from ordersaga.user.v1 import user_pb2 as pb


def client_traits(request: Request[Any, Any, Any]) -> pb.ClientTraits:
    """Its address, the one that limits count, and what it calls itself."""
    address = address_of(request.scope)
    return pb.ClientTraits(
        address="" if address is None else str(address), user_agent=request.headers.get("user-agent", "")
    )
