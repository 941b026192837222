"""Whether a part that is called serves, by gRPC's own health protocol."""

from __future__ import annotations

from typing import Final

import grpc.aio
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from runtime.health import Check

_TIMEOUT: Final = 1.0
"""Seconds that a part gets to say that it serves."""


def serving(channel: grpc.aio.Channel) -> Check:
    """A check of the part that the channel leads to."""
    # the stub of grpcio-health-checking has no types
    ask: grpc.aio.UnaryUnaryMultiCallable[HealthCheckRequest, HealthCheckResponse] = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=HealthCheckRequest.SerializeToString,
        response_deserializer=HealthCheckResponse.FromString,
    )

    async def find_problem() -> str | None:
        try:
            answer = await ask(HealthCheckRequest(), timeout=_TIMEOUT)
        except grpc.aio.AioRpcError as error:
            return f"it does not answer: {error.code().name}: {error.details()}"
        return None if answer.status == HealthCheckResponse.SERVING else "it does not serve"

    return find_problem
