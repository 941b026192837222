"""gRPC of the product service: checks requests, calls the use case, shapes the answer."""

from __future__ import annotations

from typing import Any

import grpc.aio
from google.protobuf.timestamp_pb2 import Timestamp

from ordersaga.common.v1.order_line_pb2 import PricedLine
from ordersaga.product.v1 import product_pb2 as pb
from ordersaga.product.v1.product_pb2_grpc import ProductServiceServicer, add_ProductServiceServicer_to_server
from runtime.caller import CallerRole, current_caller
from runtime.database import Database
from runtime.process import Life
from runtime.rpc_server import serve
from runtime.settings import Settings
from runtime.validation import Faults
from services.product.cursors import decode_cursor, encode_cursor
from services.product.repository import Product
from services.product.service import ProductService

SERVICE_NAME = "ordersaga.product.v1.ProductService"

Context = grpc.aio.ServicerContext[Any, Any]


class ProductServicer(ProductServiceServicer):
    """The product service over gRPC."""

    def __init__(self, service: ProductService) -> None:
        self._service = service

    async def CreateProduct(self, request: pb.CreateProductRequest, context: Context) -> pb.CreateProductResponse:
        current_caller().require(CallerRole.ADMIN)
        with Faults() as faults:
            faults.check_text("name", request.name, longest=200)
            if request.name.isspace():
                faults.add("name", "must not be blank")
            faults.check_text("description", request.description, shortest=0, longest=5_000)
            faults.check_amount("unit_price", request.unit_price)
            faults.check_currency("currency", request.currency)
        product = await self._service.create(
            name=request.name,
            description=request.description,
            unit_price=request.unit_price,
            currency=request.currency,
        )
        return pb.CreateProductResponse(product=_to_proto(product))

    async def GetProduct(self, request: pb.GetProductRequest, context: Context) -> pb.GetProductResponse:
        with Faults() as faults:
            faults.check_id("product_id", request.product_id)
        return pb.GetProductResponse(product=_to_proto(await self._service.get(request.product_id)))

    async def ListProducts(self, request: pb.ListProductsRequest, context: Context) -> pb.ListProductsResponse:
        with Faults() as faults:
            faults.check_range("page_size", request.page_size, smallest=1, largest=100)
            after = _check_page_token(faults, request.page_token)
        page = await self._service.list_active(after=after, page_size=request.page_size)
        return pb.ListProductsResponse(
            products=[_to_proto(product) for product in page.products],
            next_page_token=encode_cursor(page.products[-1].id) if page.has_more else "",
        )

    async def Quote(self, request: pb.QuoteRequest, context: Context) -> pb.QuoteResponse:
        current_caller().require(CallerRole.SERVICE)
        expected_total = request.expected_total if request.HasField("expected_total") else None
        with Faults() as faults:
            lines = faults.check_lines("lines", request.lines)
            faults.check_currency("currency", request.currency)
            if expected_total is not None:
                faults.check_amount("expected_total", expected_total)
        quote = await self._service.quote(lines, currency=request.currency, expected_total=expected_total)
        return pb.QuoteResponse(
            lines=[
                PricedLine(product_id=line.product_id, quantity=line.quantity, unit_price=line.unit_price)
                for line in quote.lines
            ],
            total=quote.total,
        )


def _check_page_token(faults: Faults, token: str) -> str | None:
    if not token:
        return None
    try:
        return decode_cursor(token)
    except ValueError:
        faults.add("page_token", "must be empty or the next_page_token of the page before")
        return None


def _to_proto(product: Product) -> pb.Product:
    created_at = Timestamp()
    created_at.FromDatetime(product.created_at)
    return pb.Product(
        id=product.id,
        name=product.name,
        description=product.description,
        unit_price=product.unit_price,
        currency=product.currency,
        active=product.active,
        created_at=created_at,
    )


async def run(settings: Settings, life: Life) -> None:
    """Serve until the process stops."""
    database = Database(settings.required("product_dsn"), pool_size=settings.database_pool_size)
    servicer = ProductServicer(ProductService(database))
    try:
        await serve(
            settings,
            life,
            address=settings.product_address,
            services=(SERVICE_NAME,),
            add=lambda server: add_ProductServiceServicer_to_server(servicer, server),
        )
    finally:
        await database.close()
