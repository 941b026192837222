"""Calling a service: a channel per address, and one way to make a call."""

from __future__ import annotations

from typing import Any, TypeVar

import grpc
import grpc.aio

from runtime.caller import Caller
from runtime.refusal import Unavailable, from_rpc_error

Request = TypeVar("Request")
Response = TypeVar("Response")


class ServiceUnavailable(Unavailable):
    """A call failed for no business reason: the service is away, slow or broken. Its effect is unknown; retry it.

    Attributes:
        service: which one, such as ``user``.
    """

    def __init__(self, service: str, code: grpc.StatusCode, message: str) -> None:
        super().__init__(f"the {service} service: {code.name}: {message}")
        self.service = service
        self.code = code


def open_channel(address: str) -> grpc.aio.Channel:
    """A channel that connects on first use, reconnects quickly, and spreads calls over all addresses of the name."""
    return grpc.aio.insecure_channel(
        address,
        options=[
            ("grpc.max_reconnect_backoff_ms", 2_000),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.lb_policy_name", "round_robin"),
        ],
    )


async def call(
    method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
    request: Request,
    *,
    caller: Caller,
    deadline: float,
) -> Response:
    """Call `method` as `caller`, waiting `deadline` seconds at most.

    Raises:
        CallRefused: the service refused for a business reason.
        ServiceUnavailable: anything else; whether the call took effect is not known.
    """
    try:
        metadata: Any = caller.metadata
        return await method(request, timeout=deadline, metadata=metadata)
    except grpc.aio.AioRpcError as error:
        refused = from_rpc_error(error)
        if refused is not None:
            raise refused from None
        raise ServiceUnavailable(_service_of(method), error.code(), error.details() or "") from None


def _service_of(method: object) -> str:
    """``user`` for a call of ``/ordersaga.user.v1.UserService/GetUser``, a name that gRPC keeps to itself."""
    path: bytes = getattr(method, "_method", b"")
    package = path.decode().lstrip("/").split(".")
    return package[1] if len(package) > 1 else "called"
