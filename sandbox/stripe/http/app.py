"""The HTTP surface of an account: Stripe's API under ``/v1``, and the switches under ``/_sandbox``."""

from collections.abc import Callable
from typing import Any

import msgspec
import structlog
from litestar import Litestar, Request, Response, get, route
from litestar.config.cors import CORSConfig
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from sandbox.stripe.account import StripeAccount
from sandbox.stripe.api.calls import ApiRequest
from sandbox.stripe.errors import ApiError, unknown_failure, unrecognized_request
from sandbox.stripe.http.switches import switches

log = structlog.stdlib.get_logger(__name__)

AnyRequest = Request[Any, Any, Any]
HangUp = Callable[[tuple[str, int]], None]
"""Closes the connection from this address without an answer."""


def create_app(account: StripeAccount, *, hang_up: HangUp) -> Litestar:
    """The ASGI application."""
    return Litestar(
        route_handlers=[_api(account, hang_up), *switches(account), healthz],
        exception_handlers={ApiError: _refused, HTTPException: _unrecognized, Exception: _failed},
        # Browsers call Stripe from the shop's pages.
        cors_config=CORSConfig(expose_headers=["Request-Id", "Stripe-Version", "Idempotent-Replayed"]),
        openapi_config=None,
        logging_config=None,
    )


@get("/healthz")
async def healthz() -> dict[str, str]:
    """Answer that the double runs."""
    return {"status": "ok"}


def _api(account: StripeAccount, hang_up: HangUp) -> HTTPRouteHandler:
    @route("/v1/{path:path}", http_method=["GET", "POST", "DELETE"])
    async def call(request: AnyRequest) -> Response[bytes]:
        asked = ApiRequest(
            method=request.method,
            path=request.url.path,
            parameters=await request.body() if request.method == "POST" else request.scope["query_string"],
            headers=request.headers,
        )
        reply = await account.answer(asked)
        if reply.lost and request.client is not None:
            hang_up((request.client.host, request.client.port))
        return _json(reply.body, status=reply.status, headers=reply.headers)

    return call


def _json(body: bytes, *, status: int, headers: dict[str, str] | None = None) -> Response[bytes]:
    return Response(body, status_code=status, media_type="application/json", headers=headers)


def _refused(request: AnyRequest, error: ApiError) -> Response[bytes]:
    return _json(msgspec.json.encode(error.body()), status=error.status)


def _unrecognized(request: AnyRequest, error: HTTPException) -> Response[bytes]:
    # Stripe answers an unknown path and an unknown method alike.
    return _refused(request, unrecognized_request(request.method, request.url.path))


def _failed(request: AnyRequest, error: Exception) -> Response[bytes]:
    log.error("call.failed", method=request.method, path=request.url.path, exc_info=error)
    return _refused(request, unknown_failure())
