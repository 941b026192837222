"""The shared buckets for tests of who asks them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import grpc.aio

from domain.rate_limits import Rate, take
from ordersaga.limits.v1 import limits_pb2 as pb
from ordersaga.limits.v1.limits_pb2_grpc import LimitsServiceStub


@dataclass
class Shared:
    """The shared buckets as the model has them, on the same clock."""

    now: int = 0
    is_away: bool = False
    asked: list[pb.TakePermitsRequest] = field(default_factory=list)
    granted: int = 0
    exempt: set[bytes] = field(default_factory=set)
    full_at: dict[bytes, int] = field(default_factory=dict)

    @property
    def limits(self) -> LimitsServiceStub:
        return cast("LimitsServiceStub", self)

    def clock(self) -> int:
        return self.now

    async def TakePermits(self, request: pb.TakePermitsRequest, **_: Any) -> pb.TakePermitsResponse:  # noqa: N802
        self.asked.append(request)
        if self.is_away:
            raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata())
        if request.unless_exempt in self.exempt:
            return pb.TakePermitsResponse(granted=request.wanted, exempt=True)
        rate = Rate(request.count, request.seconds)
        full_at = self.full_at.get(request.bucket, 0)
        taken = take(rate, full_at=full_at, now=self.now, wanted=request.wanted)
        self.full_at[request.bucket] = taken.full_at
        self.granted += taken.granted
        return pb.TakePermitsResponse(granted=taken.granted, full_in_us=taken.full_at - self.now)

    async def AddExemption(self, request: pb.AddExemptionRequest, **_: Any) -> pb.AddExemptionResponse:  # noqa: N802
        self.exempt.add(request.key)
        return pb.AddExemptionResponse()
