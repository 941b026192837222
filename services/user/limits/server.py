"""gRPC of the shared limits: for those alone who know who asks: gateways, and the codec server."""

from __future__ import annotations

from typing import Any, Final

import grpc.aio

from domain.rate_limits import LONGEST_WINDOW, MAX_COUNT, Rate
from ordersaga.limits.v1 import limits_pb2 as pb
from ordersaga.limits.v1.limits_pb2_grpc import LimitsServiceServicer, add_LimitsServiceServicer_to_server
from runtime.identity import Part
from runtime.permissions import allow
from runtime.rpc_server import GrpcService
from runtime.validation import Violations
from services.user.limits.model import Exempt
from services.user.limits.service import SharedLimits

Context = grpc.aio.ServicerContext[Any, Any]

_KEY_BYTES: Final = 16
_LONGEST_EXEMPTION: Final = 365 * 86_400


class LimitsServicer(LimitsServiceServicer):
    """The shared limits over gRPC."""

    def __init__(self, limits: SharedLimits) -> None:
        self._limits = limits

    @allow(Part.GATEWAY)
    @allow(Part.CODEC_SERVER)
    async def TakePermits(self, request: pb.TakePermitsRequest, context: Context) -> pb.TakePermitsResponse:
        with Violations() as violations:
            _check_key(violations, "bucket", request.bucket)
            if request.unless_exempt:
                _check_key(violations, "unless_exempt", request.unless_exempt)
            violations.check_range("count", request.count, smallest=1, largest=MAX_COUNT)
            violations.check_range("seconds", request.seconds, smallest=1, largest=LONGEST_WINDOW)
            violations.check_range("wanted", request.wanted, smallest=1, largest=MAX_COUNT)
        taken = await self._limits.take(
            request.bucket,
            Rate(request.count, request.seconds),
            wanted=request.wanted,
            unless_exempt=request.unless_exempt or None,
        )
        if isinstance(taken, Exempt):
            return pb.TakePermitsResponse(granted=request.wanted, exempt=True)
        return pb.TakePermitsResponse(granted=taken.granted, full_in_us=max(0, taken.full_in))

    @allow(Part.GATEWAY)
    @allow(Part.CODEC_SERVER)
    async def AddExemption(self, request: pb.AddExemptionRequest, context: Context) -> pb.AddExemptionResponse:
        with Violations() as violations:
            _check_key(violations, "key", request.key)
            violations.check_range("seconds", request.seconds, smallest=1, largest=_LONGEST_EXEMPTION)
        await self._limits.exempt(request.key, seconds=request.seconds)
        return pb.AddExemptionResponse()


def limits_service(limits: SharedLimits) -> GrpcService:
    """The shared limits as they are served, beside the user service."""
    descriptor = pb.DESCRIPTOR.services_by_name["LimitsService"]
    return GrpcService(descriptor, LimitsServicer(limits), add_LimitsServiceServicer_to_server)


def _check_key(violations: Violations, field: str, key: bytes) -> None:
    if len(key) != _KEY_BYTES:
        violations.add(field, f"must have {_KEY_BYTES} bytes")
