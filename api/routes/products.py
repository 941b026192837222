"""The catalogue."""

from __future__ import annotations

from datetime import UTC
from typing import Annotated

from litestar import Response, get, post
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from api.auth import SECURITY, SignedInRequest, admin
from api.problems import declared
from api.schemas import NewProduct, Product, ProductPage
from api.services import Services
from api.validation import StrictJson
from ordersaga.product.v1 import product_pb2 as pb
from runtime.caller import ANONYMOUS
from runtime.rpc_client import call
from runtime.validation import Faults


@get(
    "/v1/products",
    operation_id="listProducts",
    summary="Products for sale",
    tags=["products"],
    responses=declared(400),
)
async def list_products(
    services: NamedDependency[Services],
    limit: Annotated[int, QueryParameter(ge=1, le=100, description="Products on a page.")] = 50,
    cursor: Annotated[
        str, QueryParameter(description="The page before's `next_cursor`; empty for the first page.")
    ] = "",
) -> ProductPage:
    """Active products in the order of their creation, a page at a time."""
    answer = await call(
        services.product.ListProducts,
        pb.ListProductsRequest(page_size=limit, page_token=cursor),
        caller=ANONYMOUS,
        deadline=services.deadline,
    )
    return ProductPage(
        items=[_to_product(product) for product in answer.products], next_cursor=answer.next_page_token or None
    )


@post(
    "/v1/products",
    operation_id="createProduct",
    summary="Add a product",
    tags=["products"],
    guards=[admin],
    security=SECURITY,
    dto=StrictJson[NewProduct],
    responses=declared(400, 401, 403, 413, 415),
    response_headers=[ResponseHeader(name="Location", documentation_only=True, description="The product.")],
)
async def create_product(
    request: SignedInRequest, data: JSONBody[NewProduct], services: NamedDependency[Services]
) -> Response[Product]:
    """Add an active product to the catalogue. It has no stock until some is added. Admins only."""
    answer = await call(
        services.product.CreateProduct,
        pb.CreateProductRequest(
            name=data.name, description=data.description, unit_price=data.unit_price, currency=data.currency
        ),
        caller=request.user,
        deadline=services.deadline,
    )
    product = _to_product(answer.product)
    return Response(product, status_code=201, headers={"Location": f"/v1/products/{product.id}"})


@get(
    "/v1/products/{product_id:str}",
    operation_id="getProduct",
    summary="One product",
    tags=["products"],
    responses=declared(400, 404),
)
async def get_product(product_id: FromPath[str], services: NamedDependency[Services]) -> Product:
    """One product, whether it is for sale or not."""
    with Faults() as faults:
        faults.check_id("product_id", product_id)
    answer = await call(
        services.product.GetProduct,
        pb.GetProductRequest(product_id=product_id),
        caller=ANONYMOUS,
        deadline=services.deadline,
    )
    return _to_product(answer.product)


def _to_product(product: pb.Product) -> Product:
    return Product(
        id=product.id,
        name=product.name,
        description=product.description,
        unit_price=product.unit_price,
        currency=product.currency,
        active=product.active,
        created_at=product.created_at.ToDatetime(tzinfo=UTC),
    )
