"""The catalogue."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from litestar import Response, delete, get, patch, post
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency
from litestar.openapi.spec import Example
from litestar.params import HeaderParameter, JSONBody, QueryParameter
from msgspec import UNSET

from api.auth import SECURITY, SignedInRequest, admin
from api.conditional import CONTENT_ETAG, SHARED, UNSHARED
from api.etags import WRITTEN, content_etag, etag, expected_versions
from api.idempotency import OptionalKey, sent_key
from api.problems import declared
from api.references import Cursor, ProductId
from api.schemas.products import NewProduct, Product, ProductChanges, ProductPage
from api.services import Services
from api.validation import StrictJson
from domain.limits import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE
from ordersaga.product.v1 import product_pb2 as pb
from runtime.caller import ANONYMOUS
from runtime.protos import from_proto, to_proto
from runtime.rpc_client import call
from runtime.validation import Violations

_ETAG = ResponseHeader(name="ETag", documentation_only=True, description="The product's version, for If-Match.")
_CACHED = ResponseHeader(
    name="Cache-Control", documentation_only=True, description="How long anybody may show it without asking again."
)
_IfMatch: TypeAlias = Annotated[
    str | None,
    HeaderParameter(
        name="If-Match",
        description="The `ETag` that the product had when it was read: 412 when it has another by now.",
        examples=[Example(value='"3"')],
        schema_extra={"pattern": WRITTEN},
    ),
]


@get(
    "/v1/products",
    operation_id="listProducts",
    summary="Products for sale",
    tags=["products"],
    responses=declared(400),
    response_headers=[CONTENT_ETAG, _CACHED],
)
async def list_products(
    services: NamedDependency[Services],
    limit: Annotated[
        int, QueryParameter(ge=1, le=MAX_PAGE_SIZE, description="Products on a page.")
    ] = DEFAULT_PAGE_SIZE,
    cursor: Cursor = "",
) -> Response[ProductPage]:
    """Active products in the order of their creation, a page at a time."""
    answer = await call(
        services.product.ListProducts,
        pb.ListProductsRequest(page_size=limit, page_token=cursor),
        caller=ANONYMOUS,
        deadline=services.deadline,
    )
    page = ProductPage(
        items=[from_proto(Product, product) for product in answer.products],
        next_cursor=answer.next_page_token or None,
    )
    return Response(page, headers={"ETag": content_etag(page), "Cache-Control": SHARED})


@post(
    "/v1/products",
    operation_id="createProduct",
    summary="Add a product",
    tags=["products"],
    guards=[admin],
    security=SECURITY,
    dto=StrictJson[NewProduct],
    responses=declared(400, 401, 403, 413, 415, 422),
    response_headers=[
        ResponseHeader(name="Location", documentation_only=True, description="The product."),
        _ETAG,
    ],
)
async def create_product(
    request: SignedInRequest,
    data: JSONBody[NewProduct],
    services: NamedDependency[Services],
    idempotency_key: OptionalKey = None,
) -> Response[Product]:
    """Add an active product to the catalogue, once per `Idempotency-Key`. It has no stock yet. Admins only."""
    answer = await call(
        services.product.CreateProduct,
        to_proto(pb.CreateProductRequest, data, idempotency_key=sent_key(idempotency_key)),
        caller=request.user,
        deadline=services.deadline,
    )
    product = answer.product
    headers = {
        "Location": f"/v1/products/{product.id}",
        "ETag": etag(product.version),
        "Cache-Control": UNSHARED,
    }
    return Response(from_proto(Product, product), status_code=201, headers=headers)


@get(
    "/v1/products/{product_id:str}",
    operation_id="getProduct",
    summary="One product",
    tags=["products"],
    responses=declared(400, 404),
    response_headers=[_ETAG, _CACHED],
)
async def get_product(product_id: ProductId, services: NamedDependency[Services]) -> Response[Product]:
    """One product, whether it is for sale or not; a deleted one is not found."""
    with Violations() as violations:
        violations.check_id("product_id", product_id)
    answer = await call(
        services.product.GetProduct,
        pb.GetProductRequest(product_id=product_id),
        caller=ANONYMOUS,
        deadline=services.deadline,
    )
    headers = {"ETag": etag(answer.product.version), "Cache-Control": SHARED}
    return Response(from_proto(Product, answer.product), headers=headers)


@patch(
    "/v1/products/{product_id:str}",
    operation_id="updateProduct",
    summary="Change a product",
    tags=["products"],
    guards=[admin],
    security=SECURITY,
    dto=StrictJson[ProductChanges],
    responses=declared(400, 401, 403, 404, 412, 413, 415),
    response_headers=[_ETAG],
)
async def update_product(
    request: SignedInRequest,
    product_id: ProductId,
    data: JSONBody[ProductChanges],
    services: NamedDependency[Services],
    if_match: _IfMatch = None,
) -> Response[Product]:
    """Change what is given of a product; inactive, it stays but cannot be sold. Its currency never changes.

    Orders that were priced already keep their price. Admins only.
    """
    with Violations() as violations:
        violations.check_id("product_id", product_id)
        versions = expected_versions(if_match, violations)
    answer = await call(
        services.product.UpdateProduct,
        pb.UpdateProductRequest(
            product_id=product_id,
            name=None if data.name is UNSET else data.name,
            description=None if data.description is UNSET else data.description,
            unit_price=None if data.unit_price is UNSET else data.unit_price,
            active=None if data.active is UNSET else data.active,
            expected_versions=versions,
        ),
        caller=request.user,
        deadline=services.deadline,
    )
    headers = {"ETag": etag(answer.product.version), "Cache-Control": UNSHARED}
    return Response(from_proto(Product, answer.product), headers=headers)


@delete(
    "/v1/products/{product_id:str}",
    operation_id="deleteProduct",
    summary="Delete a product",
    tags=["products"],
    guards=[admin],
    security=SECURITY,
    responses=declared(400, 401, 403, 404, 412),
)
async def delete_product(
    request: SignedInRequest,
    product_id: ProductId,
    services: NamedDependency[Services],
    if_match: _IfMatch = None,
) -> None:
    """Take a product out of the catalogue for good. Orders and mails keep its name. Admins only."""
    with Violations() as violations:
        violations.check_id("product_id", product_id)
        versions = expected_versions(if_match, violations)
    await call(
        services.product.DeleteProduct,
        pb.DeleteProductRequest(product_id=product_id, expected_versions=versions),
        caller=request.user,
        deadline=services.deadline,
    )
