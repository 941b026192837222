"""Stock steps, at the inventory service."""

from __future__ import annotations

from collections.abc import Sequence

from temporalio import activity

from activities.calling import call_service
from domain.orders import OrderLine
from domain.saga import ReserveRequest, RestockRequest
from ordersaga.common.v1 import order_line_pb2
from ordersaga.inventory.v1 import inventory_pb2 as pb
from ordersaga.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from workflows.steps import StockSteps


class StockActivities(StockSteps):
    """See `workflows.steps.StockSteps`."""

    def __init__(self, *, inventory: InventoryServiceStub) -> None:
        self._inventory = inventory

    @activity.defn(name="reserve")
    async def reserve(self, request: ReserveRequest) -> None:
        lines = _to_proto(request.lines)
        await call_service(self._inventory.Reserve, pb.ReserveRequest(order_id=request.order_id, lines=lines))

    @activity.defn(name="release")
    async def release(self, order_id: str) -> None:
        await call_service(self._inventory.Release, pb.ReleaseRequest(order_id=order_id))

    @activity.defn(name="commit")
    async def commit(self, order_id: str) -> None:
        await call_service(self._inventory.Commit, pb.CommitRequest(order_id=order_id))

    @activity.defn(name="restock")
    async def restock(self, request: RestockRequest) -> None:
        await call_service(
            self._inventory.Restock,
            pb.RestockRequest(restock_id=request.restock_id, order_id=request.order_id, lines=_to_proto(request.lines)),
        )


def _to_proto(lines: Sequence[OrderLine]) -> list[order_line_pb2.OrderLine]:
    return [order_line_pb2.OrderLine(product_id=line.product_id, quantity=line.quantity) for line in lines]
