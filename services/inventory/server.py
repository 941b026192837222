"""gRPC of the inventory service: checks requests, calls the use case, shapes the answer."""

from __future__ import annotations

from typing import Any

import grpc.aio

from domain.limits import MAX_NOTE
from domain.stock import MAX_ON_HAND
from ordersaga.inventory.v1 import inventory_pb2 as pb
from ordersaga.inventory.v1.inventory_pb2_grpc import InventoryServiceServicer, add_InventoryServiceServicer_to_server
from runtime.caller import CallerRole, current_caller
from runtime.identity import Part
from runtime.on_call import on_call_service
from runtime.permissions import allow
from runtime.process import Lifecycle
from runtime.rpc_server import GrpcService, serve
from runtime.settings import Settings
from runtime.validation import Violations
from services.inventory.bootstrap import InventoryComponents, bootstrap
from services.inventory.messages import to_stock

Context = grpc.aio.ServicerContext[Any, Any]


class InventoryServicer(InventoryServiceServicer):
    """The inventory service over gRPC."""

    def __init__(self, components: InventoryComponents) -> None:
        self._service = components.inventory

    @allow(Part.GATEWAY, CallerRole.ADMIN)
    async def GetStock(self, request: pb.GetStockRequest, context: Context) -> pb.GetStockResponse:
        with Violations() as violations:
            violations.check_id("product_id", request.product_id)
        return pb.GetStockResponse(stock=to_stock(await self._service.get_stock(request.product_id)))

    @allow(Part.GATEWAY, CallerRole.ADMIN)
    async def AdjustStock(self, request: pb.AdjustStockRequest, context: Context) -> pb.AdjustStockResponse:
        with Violations() as violations:
            violations.check_id("adjustment_id", request.adjustment_id)
            violations.check_id("product_id", request.product_id)
            violations.check_range("delta", request.delta, smallest=-MAX_ON_HAND, largest=MAX_ON_HAND)
            violations.check_plain_line("note", request.note, shortest=0, longest=MAX_NOTE)
            if request.delta == 0:
                violations.add("delta", "must not be 0")
        level = await self._service.adjust(
            adjustment_id=request.adjustment_id,
            product_id=request.product_id,
            delta=request.delta,
            note=request.note,
            actor=current_caller().actor,
        )
        return pb.AdjustStockResponse(stock=to_stock(level))

    @allow(Part.ORDER_WORKER)
    async def Reserve(self, request: pb.ReserveRequest, context: Context) -> pb.ReserveResponse:
        with Violations() as violations:
            violations.check_id("order_id", request.order_id)
            lines = violations.check_lines("lines", request.lines)
        await self._service.reserve(request.order_id, lines)
        return pb.ReserveResponse()

    @allow(Part.ORDER_WORKER)
    async def Release(self, request: pb.ReleaseRequest, context: Context) -> pb.ReleaseResponse:
        with Violations() as violations:
            violations.check_id("order_id", request.order_id)
        await self._service.release(request.order_id)
        return pb.ReleaseResponse()

    @allow(Part.ORDER_WORKER)
    async def Commit(self, request: pb.CommitRequest, context: Context) -> pb.CommitResponse:
        with Violations() as violations:
            violations.check_id("order_id", request.order_id)
        await self._service.commit(request.order_id)
        return pb.CommitResponse()

    @allow(Part.ORDER_WORKER)
    async def Restock(self, request: pb.RestockRequest, context: Context) -> pb.RestockResponse:
        with Violations() as violations:
            violations.check_id("restock_id", request.restock_id)
            violations.check_id("order_id", request.order_id)
            lines = violations.check_lines("lines", request.lines)
        await self._service.restock(request.restock_id, request.order_id, lines)
        return pb.RestockResponse()


def grpc_service(components: InventoryComponents) -> GrpcService:
    """The service as it is served."""
    return GrpcService(
        pb.DESCRIPTOR.services_by_name["InventoryService"],
        InventoryServicer(components),
        add_InventoryServiceServicer_to_server,
    )


async def run(settings: Settings, lifecycle: Lifecycle) -> None:
    """Serve until the process stops."""
    async with bootstrap(settings) as components:
        await serve(
            settings,
            lifecycle,
            grpc_service(components),
            on_call=on_call_service(Part.INVENTORY, components.database, components.on_call),
            checks=components.checks,
            measurements=components.measurements,
            background=components.background,
        )
