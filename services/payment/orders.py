"""The order service, as the payment service asks it."""

from __future__ import annotations

from typing import Final

from ordersaga.order.v1 import order_pb2 as pb
from ordersaga.order.v1.order_pb2_grpc import OrderServiceStub
from runtime.caller import SERVICE
from runtime.rpc_client import call

_DEADLINE: Final = 5.0
"""Of a call, seconds: well within the lease of an event."""


class OrderService:
    """See `services.payment.sagas.Orders`."""

    def __init__(self, stub: OrderServiceStub) -> None:
        self._stub = stub

    async def report_missing_saga(self, order_id: str) -> bool:
        """See `services.payment.sagas.Orders`."""
        request = pb.ReportMissingSagaRequest(order_id=order_id)
        answer = await call(self._stub.ReportMissingSaga, request, caller=SERVICE, deadline=_DEADLINE)
        return answer.is_open
