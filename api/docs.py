"""The API's description: OpenAPI 3.1 at /docs/openapi.json, and pages at /docs, all from this server's own files."""

from __future__ import annotations

from dataclasses import fields
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from litestar import Request, Response, Router, get
from litestar.datastructures import CacheControlHeader, ResponseHeader
from litestar.enums import MediaType
from litestar.exceptions import NotFoundException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin
from litestar.openapi.spec import Components, OpenAPI, SecurityScheme, Tag
from litestar.static_files import create_static_files_router

from api.conditional import describe_conditionals
from api.description import describe_exactly
from api.example_description import describe_examples
from api.limits.description import describe_limits
from api.pages.rendering import render
from api.security import PAGE_POLICY

_PATH: Final = "/docs"
_CACHED: Final = CacheControlHeader(public=True, max_age=300)
_OURS: Final = Path(__file__).parent / "pages" / "assets"


def _swagger_ui() -> Path:
    """Swagger UI's files. The package that has them is for other frameworks, and is not imported."""
    found = find_spec("swagger_ui")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("swagger-ui-py is not installed", name="swagger_ui")
    return Path(found.submodule_search_locations[0]) / "static"


@get("/guide", media_type=MediaType.HTML, sync_to_thread=False)
def _guide() -> bytes:
    return render("guide")


@get("/problems", media_type=MediaType.HTML, sync_to_thread=False)
def _problems() -> bytes:
    return render("problems")


class _Pages(OpenAPIRenderPlugin):
    """Swagger UI, the pages beside it, and their assets."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        return render("reference")

    def receive_router(self, router: Router) -> None:
        router.register(_guide)
        router.register(_problems)
        assets = create_static_files_router(
            "/assets", directories=[_OURS, _swagger_ui()], include_in_schema=False, cache_control=_CACHED
        )
        router.register(assets)


async def _problem_for_missing_pages(response: Response[Any]) -> Response[Any]:
    """Litestar answers an unknown path below the documentation's with a page of its own; ours is a problem."""
    if response.status_code == NotFoundException.status_code:
        raise NotFoundException
    return response


class _Description(OpenAPI):
    """The document, with what all operations have in common."""

    def to_schema(self) -> dict[str, Any]:
        document = super().to_schema()
        describe_exactly(document)
        describe_conditionals(document)
        describe_limits(document)
        describe_examples(document)
        return document


class _Config(OpenAPIConfig):
    def to_openapi_schema(self) -> OpenAPI:
        made = super().to_openapi_schema()
        return _Description(**{each.name: getattr(made, each.name) for each in fields(made)})


def openapi_config() -> OpenAPIConfig:
    """How the API describes itself."""
    return _Config(
        title="Ordersaga",
        version=version("ordersaga"),
        summary="Orders that end paid, failed or cancelled, whatever crashes on the way.",
        description="Money is whole minor units of an ISO 4217 currency; times are RFC 3339 in UTC. "
        "Errors are problems (RFC 9457), distinguished by their `type`, and [explained](/docs/problems). "
        "How it goes together is in the [guide](/docs/guide).",
        openapi_router=Router(
            _PATH,
            route_handlers=[],
            include_in_schema=False,
            dto=None,
            return_dto=None,
            after_request=_problem_for_missing_pages,
            cache_control=_CACHED,
            response_headers=[ResponseHeader(name="Content-Security-Policy", value=PAGE_POLICY)],
        ),
        render_plugins=[_Pages(path="/"), JsonRenderPlugin()],
        components=Components(
            security_schemes={"bearer": SecurityScheme(type="http", scheme="bearer", bearer_format="JWT")}
        ),
        tags=[
            Tag(name="users", description="Accounts and tokens."),
            Tag(name="products", description="The catalogue."),
            Tag(name="inventory", description="Stock, for admins."),
            Tag(name="orders", description="Placing and following orders."),
            Tag(name="guests", description="Orders without an account."),
            Tag(name="payments", description="What became of an order's payment."),
            Tag(name="refunds", description="Giving money of an order back."),
            Tag(name="notifications", description="What admins send to users."),
            Tag(name="webhooks", description="What Stripe calls."),
        ],
        use_handler_docstrings=True,
    )
