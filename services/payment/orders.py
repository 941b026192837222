"""The order service, as the payment service asks it."""

from __future__ import annotations

from typing import Final

from ordersaga.order.v1 import order_pb2 as pb
from ordersaga.order.v1.order_pb2_grpc import OrderServiceStub
from runtime.caller import SERVICE
from runtime.rpc_client import call

_DEADLINE: Final = 5.0
"""Of a call, seconds: well within the lease of an event."""


class Orders:
    """Orders, each of which is told of its payment by its saga alone; the order service knows if it should have one."""

    def __init__(self, stub: OrderServiceStub) -> None:
        self._stub = stub

    async def report_missing_saga(self, order_id: str) -> bool:
        """Report that an order's saga was to be notified and is not there; whether the order is open, and needs it.

        Raises:
            ServiceUnavailable: the order service is away; repeat.
        """
        request = pb.ReportMissingSagaRequest(order_id=order_id)
        answer = await call(self._stub.ReportMissingSaga, request, caller=SERVICE, deadline=_DEADLINE)
        return answer.is_open
