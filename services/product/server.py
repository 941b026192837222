"""gRPC of the product service: checks requests, calls the use case, shapes the answer."""

from __future__ import annotations

from typing import Any

import grpc.aio

from domain.limits import MAX_DESCRIPTION, MAX_IDEMPOTENCY_KEY, MAX_PAGE_SIZE, MAX_PRODUCT_NAME
from domain.orders import MAX_ADJUSTMENT
from ordersaga.product.v1 import product_pb2 as pb
from ordersaga.product.v1.product_pb2_grpc import ProductServiceServicer, add_ProductServiceServicer_to_server
from runtime.caller import CallerRole, current_caller
from runtime.cursors import encode_cursor
from runtime.identity import Part
from runtime.on_call import on_call_service
from runtime.permissions import ANYBODY, allow
from runtime.process import Lifecycle
from runtime.rpc_server import GrpcService, serve
from runtime.settings import Settings
from runtime.validation import Violations
from services.product.bootstrap import ProductComponents, bootstrap
from services.product.messages import to_changes, to_product, to_quote
from services.product.model import NewProduct

Context = grpc.aio.ServicerContext[Any, Any]


class ProductServicer(ProductServiceServicer):
    """The product service over gRPC."""

    def __init__(self, components: ProductComponents) -> None:
        self._service = components.products

    @allow(Part.GATEWAY, CallerRole.ADMIN)
    async def CreateProduct(self, request: pb.CreateProductRequest, context: Context) -> pb.CreateProductResponse:
        with Violations() as violations:
            _check_name(violations, request.name)
            _check_description(violations, request.description)
            violations.check_amount("unit_price", request.unit_price)
            violations.check_currency("currency", request.currency)
            violations.check_text("idempotency_key", request.idempotency_key, shortest=0, longest=MAX_IDEMPOTENCY_KEY)
        product = await self._service.create(
            NewProduct(
                name=request.name,
                description=request.description,
                unit_price=request.unit_price,
                currency=request.currency,
            ),
            idempotency_key=request.idempotency_key or None,
            whose=current_caller().key,
        )
        return pb.CreateProductResponse(product=to_product(product))

    @allow(Part.GATEWAY, *ANYBODY)
    @allow(Part.NOTIFICATION)
    async def GetProduct(self, request: pb.GetProductRequest, context: Context) -> pb.GetProductResponse:
        with Violations() as violations:
            violations.check_id("product_id", request.product_id)
        sees_deleted = current_caller().role in (CallerRole.ADMIN, CallerRole.SERVICE)
        product = await self._service.get(request.product_id, deleted_too=sees_deleted)
        return pb.GetProductResponse(product=to_product(product))

    @allow(Part.GATEWAY, CallerRole.ADMIN)
    async def UpdateProduct(self, request: pb.UpdateProductRequest, context: Context) -> pb.UpdateProductResponse:
        with Violations() as violations:
            violations.check_id("product_id", request.product_id)
            if request.HasField("name"):
                _check_name(violations, request.name)
            _check_description(violations, request.description)
            violations.check_amount("unit_price", request.unit_price)
        product = await self._service.update(
            request.product_id, to_changes(request), expected_versions=request.expected_versions
        )
        return pb.UpdateProductResponse(product=to_product(product))

    @allow(Part.GATEWAY, CallerRole.ADMIN)
    async def DeleteProduct(self, request: pb.DeleteProductRequest, context: Context) -> pb.DeleteProductResponse:
        with Violations() as violations:
            violations.check_id("product_id", request.product_id)
        await self._service.delete(request.product_id, expected_versions=request.expected_versions)
        return pb.DeleteProductResponse()

    @allow(Part.GATEWAY, *ANYBODY)
    async def ListProducts(self, request: pb.ListProductsRequest, context: Context) -> pb.ListProductsResponse:
        with Violations() as violations:
            violations.check_range("page_size", request.page_size, smallest=1, largest=MAX_PAGE_SIZE)
            after = violations.check_page_token("page_token", request.page_token)
        page = await self._service.list_active(after=after, page_size=request.page_size)
        return pb.ListProductsResponse(
            products=[to_product(product) for product in page.products],
            next_page_token=encode_cursor(page.products[-1].id) if page.has_more else "",
        )

    @allow(Part.ORDER_WORKER)
    async def Quote(self, request: pb.QuoteRequest, context: Context) -> pb.QuoteResponse:
        expected_total = request.expected_total if request.HasField("expected_total") else None
        with Violations() as violations:
            lines = violations.check_lines("lines", request.lines)
            violations.check_currency("currency", request.currency)
            if expected_total is not None:
                violations.check_amount("expected_total", expected_total)
            violations.check_range("adjustment", request.adjustment, smallest=-MAX_ADJUSTMENT, largest=MAX_ADJUSTMENT)
        quote = await self._service.quote(
            lines, currency=request.currency, expected_total=expected_total, adjustment=request.adjustment
        )
        return to_quote(quote)


def _check_name(violations: Violations, name: str) -> None:
    violations.check_plain_line("name", name, longest=MAX_PRODUCT_NAME)


def _check_description(violations: Violations, description: str) -> None:
    violations.check_plain_lines("description", description, shortest=0, longest=MAX_DESCRIPTION)


def grpc_service(components: ProductComponents) -> GrpcService:
    """The service as it is served."""
    return GrpcService(
        pb.DESCRIPTOR.services_by_name["ProductService"],
        ProductServicer(components),
        add_ProductServiceServicer_to_server,
    )


async def run(settings: Settings, lifecycle: Lifecycle) -> None:
    """Serve until the process stops."""
    async with bootstrap(settings) as components:
        await serve(
            settings,
            lifecycle,
            grpc_service(components),
            on_call=on_call_service(Part.PRODUCT, components.database, components.on_call),
            checks=components.checks,
            measurements=components.measurements,
            background=components.background,
        )
