"""Whether the gateway lives, whether it can do its work, and how it does."""

from __future__ import annotations

import asyncio
from typing import Final

import grpc.aio
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from litestar import Response, get
from litestar.di import NamedDependency

from api.problems import NOT_READY, ProblemError, declared
from api.schemas.fields import Empty
from api.services import HealthCheck, Services
from runtime.metrics import CONTENT_TYPE, render_metrics

_TIMEOUT: Final = 1.0
"""Seconds that a service gets to say that it serves."""


@get("/livez", operation_id="getLiveness", summary="Whether the gateway lives", tags=["health"])
async def get_liveness() -> Empty:
    """200 as long as the gateway answers at all."""
    return Empty()


@get(
    "/readyz",
    operation_id="getReadiness",
    summary="Whether every service answers",
    tags=["health"],
    responses=declared(),
)
async def get_readiness(services: NamedDependency[Services]) -> Empty:
    """200 when every service says that it serves; else 503, naming those that do not."""
    serving = await asyncio.gather(*(_serves(check) for check in services.health.values()))
    away = [service for service, serves in zip(services.health, serving, strict=True) if not serves]
    if away:
        raise ProblemError(NOT_READY, f"These services are away: {', '.join(away)}.")
    return Empty()


@get("/metrics", operation_id="getMetrics", summary="Metrics for Prometheus", tags=["health"], sync_to_thread=False)
def get_metrics() -> Response[bytes]:
    """What this process has counted and measured, in Prometheus's text format."""
    return Response(render_metrics(), media_type=CONTENT_TYPE)


async def _serves(check: HealthCheck) -> bool:
    try:
        answer = await check(HealthCheckRequest(), timeout=_TIMEOUT)
    except grpc.aio.AioRpcError:
        return False
    return answer.status == HealthCheckResponse.SERVING
