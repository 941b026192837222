"""Stock steps, at the inventory service."""

from __future__ import annotations

from temporalio import activity

from activities.calling import call_service
from domain.saga import ReserveRequest, RestockRequest
from ordersaga.inventory.v1 import inventory_pb2 as pb
from ordersaga.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from runtime.protos import to_proto
from workflows.steps import StockSteps


class StockActivities(StockSteps):
    """See `workflows.steps.StockSteps`."""

    def __init__(self, *, inventory: InventoryServiceStub) -> None:
        self._inventory = inventory

    @activity.defn(name="reserve")
    async def reserve(self, request: ReserveRequest) -> None:
        await call_service(self._inventory.Reserve, to_proto(pb.ReserveRequest, request))

    @activity.defn(name="release")
    async def release(self, order_id: str) -> None:
        await call_service(self._inventory.Release, pb.ReleaseRequest(order_id=order_id))

    @activity.defn(name="commit")
    async def commit(self, order_id: str) -> None:
        await call_service(self._inventory.Commit, pb.CommitRequest(order_id=order_id))

    @activity.defn(name="restock")
    async def restock(self, request: RestockRequest) -> None:
        await call_service(self._inventory.Restock, to_proto(pb.RestockRequest, request))
