"""What the gateway can do without: each service, for as long as it is away."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

import grpc.aio
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from api.services import HealthCheck, Services
from runtime.health import Check

_TIMEOUT: Final = 1.0
"""Seconds that a service gets to say that it serves."""


def services_used(services: Services) -> Mapping[str, Check]:
    """A check per service. The gateway answers 503 for one that is away, and everything else as ever."""
    return {service: partial(_find_problem, check) for service, check in services.health.items()}


async def _find_problem(check: HealthCheck) -> str | None:
    try:
        answer = await check(HealthCheckRequest(), timeout=_TIMEOUT)
    except grpc.aio.AioRpcError as error:
        return f"{error.code().name}: {error.details()}"
    return None if answer.status == HealthCheckResponse.SERVING else "it does not serve"
