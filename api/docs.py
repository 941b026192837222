"""The API's description: OpenAPI 3.1 at /docs/openapi.json, and Swagger UI at /docs from a package's own files."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Final

from litestar import Request, Response, Router
from litestar.exceptions import NotFoundException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin
from litestar.openapi.spec import Components, OpenAPI, SecurityScheme, Tag
from litestar.static_files import create_static_files_router
from swagger_ui_bundle import swagger_ui_path

from api.conditional import describe_conditionals
from api.limits.description import describe_limits

_PATH: Final = "/docs"

# The bundled Swagger UI reads up to OpenAPI 3.0 and turns other version numbers away; of what 3.1 added, our document
# uses nothing that it shows wrongly. So the page alone gets the document under 3.0's number.
_PAGE: Final = b"""<!DOCTYPE html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>Ordersaga API</title>
  <link rel="stylesheet" href="/docs/assets/swagger-ui.css">
  <link rel="stylesheet" href="/docs/assets/index.css">
  <link rel="icon" type="image/png" href="/docs/assets/favicon-32x32.png">
</head>
<body>
  <div id="swagger-ui"></div>
  <script src="/docs/assets/swagger-ui-bundle.js"></script>
  <script type="module">
    const description = await (await fetch("/docs/openapi.json")).json();
    SwaggerUIBundle({
      spec: {...description, openapi: "3.0.3"},
      dom_id: "#swagger-ui",
      deepLinking: true,
      displayRequestDuration: true,
    });
  </script>
</body>
</html>
"""


class _SwaggerPage(OpenAPIRenderPlugin):
    """Swagger UI with its assets from this server."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        return _PAGE

    def receive_router(self, router: Router) -> None:
        router.register(
            create_static_files_router("/assets", directories=[swagger_ui_path], include_in_schema=False),
        )


async def _problem_for_missing_pages(response: Response[Any]) -> Response[Any]:
    """Litestar answers an unknown path below the documentation's with a page of its own; ours is a problem."""
    if response.status_code == NotFoundException.status_code:
        raise NotFoundException
    return response


class _Description(OpenAPI):
    """The document, with what all operations have in common."""

    def to_schema(self) -> dict[str, Any]:
        document = super().to_schema()
        describe_conditionals(document)
        describe_limits(document)
        return document


class _Config(OpenAPIConfig):
    def to_openapi_schema(self) -> OpenAPI:
        made = super().to_openapi_schema()
        return _Description(**{each.name: getattr(made, each.name) for each in fields(made)})


def openapi_config() -> OpenAPIConfig:
    """How the API describes itself."""
    return _Config(
        title="Ordersaga",
        version="1",
        summary="Orders that end paid, failed or cancelled, whatever crashes on the way.",
        description="Money is whole minor units of an ISO 4217 currency; times are RFC 3339 in UTC. "
        "Errors are problems (RFC 9457), distinguished by their `type`.",
        openapi_router=Router(
            _PATH,
            route_handlers=[],
            include_in_schema=False,
            dto=None,
            return_dto=None,
            after_request=_problem_for_missing_pages,
        ),
        render_plugins=[_SwaggerPage(path="/"), JsonRenderPlugin()],
        components=Components(
            security_schemes={"bearer": SecurityScheme(type="http", scheme="bearer", bearer_format="JWT")}
        ),
        tags=[
            Tag(name="users", description="Accounts and tokens."),
            Tag(name="products", description="The catalogue."),
            Tag(name="inventory", description="Stock, for admins."),
            Tag(name="orders", description="Placing and following orders."),
            Tag(name="payments", description="What became of an order's payment."),
            Tag(name="refunds", description="Giving money of an order back."),
            Tag(name="notifications", description="What admins send to users."),
            Tag(name="webhooks", description="What Stripe calls."),
        ],
        use_handler_docstrings=True,
    )
