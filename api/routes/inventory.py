"""Stock, for admins."""

from __future__ import annotations

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from api.auth import SECURITY, SignedInRequest, admin
from api.idempotency import OptionalKey, id_for
from api.problems import declared
from api.references import ProductId
from api.schemas.products import NewAdjustment, Stock
from api.services import Services
from api.validation import StrictJson
from ordersaga.inventory.v1 import inventory_pb2 as pb
from ordersaga.product.v1.product_pb2 import GetProductRequest
from runtime.protos import from_proto
from runtime.rpc_client import call
from runtime.validation import Violations


@get(
    "/v1/inventory/{product_id:str}",
    operation_id="getStock",
    summary="Stock of one product",
    tags=["inventory"],
    guards=[admin],
    security=SECURITY,
    responses=declared(400, 401, 403),
)
async def get_stock(request: SignedInRequest, product_id: ProductId, services: NamedDependency[Services]) -> Stock:
    """Stock of one product; one that was never adjusted has none. Admins only."""
    with Violations() as violations:
        violations.check_id("product_id", product_id)
    answer = await call(
        services.inventory.GetStock,
        pb.GetStockRequest(product_id=product_id),
        caller=request.user,
        deadline=services.deadline,
    )
    return from_proto(Stock, answer.stock)


@post(
    "/v1/inventory/{product_id:str}/adjustments",
    operation_id="adjustStock",
    summary="Add units to stock, or take some away",
    tags=["inventory"],
    guards=[admin],
    security=SECURITY,
    dto=StrictJson[NewAdjustment],
    responses=declared(400, 401, 403, 404, 409, 413, 415, 422),
)
async def adjust_stock(
    request: SignedInRequest,
    product_id: ProductId,
    data: JSONBody[NewAdjustment],
    services: NamedDependency[Services],
    idempotency_key: OptionalKey = None,
) -> Stock:
    """Change what is on hand, with a ledger row: once per `Idempotency-Key`, for good. Admins only."""
    adjustment_id = id_for(idempotency_key, caller=request.user, route="POST /v1/inventory/{id}/adjustments")
    with Violations() as violations:
        violations.check_id("product_id", product_id)
        if data.delta == 0:
            violations.add("delta", "must not be 0")
    await call(
        services.product.GetProduct,
        GetProductRequest(product_id=product_id),
        caller=request.user,
        deadline=services.deadline,
    )
    answer = await call(
        services.inventory.AdjustStock,
        pb.AdjustStockRequest(adjustment_id=adjustment_id, product_id=product_id, delta=data.delta, note=data.note),
        caller=request.user,
        deadline=services.deadline,
    )
    return from_proto(Stock, answer.stock)
