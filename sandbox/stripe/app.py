"""The HTTP surface: Stripe's routes, and the double's own switches under ``/_sandbox``."""

from collections.abc import Callable
from typing import Any

import msgspec
import structlog
from litestar import Litestar, Request, Response, get, post
from litestar.config.cors import CORSConfig
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.types import ControllerRouterHandler

from sandbox.stripe.calls import Calls, Route
from sandbox.stripe.customer import Bank, outcome_of_form, outcome_of_json
from sandbox.stripe.errors import ApiError, unknown_failure
from sandbox.stripe.faults import FaultSwitch
from sandbox.stripe.routes import ROUTES
from sandbox.stripe.switches import Switches

log = structlog.stdlib.get_logger(__name__)

AnyRequest = Request[Any, Any, Any]
HangUp = Callable[[tuple[str, int]], None]
"""Closes the connection from this address without an answer."""


def create_app(*, calls: Calls, bank: Bank, faults: FaultSwitch, switches: Switches, hang_up: HangUp) -> Litestar:
    """The ASGI application."""
    return Litestar(
        route_handlers=[
            *(_handler(route, calls=calls, hang_up=hang_up) for route in ROUTES),
            *_fault_switches(faults),
            *_object_switches(switches),
            *_bank_pages(bank),
            healthz,
        ],
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


def _handler(route: Route, *, calls: Calls, hang_up: HangUp) -> HTTPRouteHandler:
    async def handle(request: AnyRequest) -> Response[bytes]:
        encoded = request.scope["query_string"] if route.method == "GET" else await request.body()
        target = request.path_params.get("id", "")
        reply = await calls.answer(route, target=target, encoded=encoded, headers=request.headers)
        if reply.lost and request.client is not None:
            hang_up((request.client.host, request.client.port))
        return _json(reply.body, status=reply.status, headers=reply.headers)

    return HTTPRouteHandler(route.path, http_method=route.method)(handle)  # type: ignore[arg-type]  # typed for its own


def _fault_switches(faults: FaultSwitch) -> list[ControllerRouterHandler]:
    @get("/_sandbox/faults")
    async def show_faults() -> Response[bytes]:
        return _json(msgspec.json.encode(faults.current))

    @post("/_sandbox/faults", status_code=200)
    async def set_faults(request: AnyRequest) -> Response[bytes]:
        faults.set(await request.body())
        return _json(msgspec.json.encode(faults.current))

    return [show_faults, set_faults]


def _object_switches(switches: Switches) -> list[ControllerRouterHandler]:
    @post("/_sandbox/refunds/{id:str}", status_code=200)
    async def change_refund(request: AnyRequest) -> Response[bytes]:
        refund = switches.change_refund(request.path_params["id"], await request.body())
        return _json(msgspec.json.encode(refund))

    @post("/_sandbox/charges/{id:str}/dispute", status_code=200)
    async def open_dispute(request: AnyRequest) -> Response[bytes]:
        dispute = switches.open_dispute(request.path_params["id"], await request.body())
        return _json(msgspec.json.encode(dispute))

    @post("/_sandbox/disputes/{id:str}", status_code=200)
    async def change_dispute(request: AnyRequest) -> Response[bytes]:
        dispute = switches.change_dispute(request.path_params["id"], await request.body())
        return _json(msgspec.json.encode(dispute))

    return [change_refund, open_dispute, change_dispute]


def _bank_pages(bank: Bank) -> list[ControllerRouterHandler]:
    path = "/_sandbox/payment_intents/{id:str}/authenticate"

    @get(path, media_type="text/html")
    async def authentication_page(request: AnyRequest) -> str:
        return bank.page(request.path_params["id"])

    @post(path, status_code=200)
    async def authenticate(request: AnyRequest) -> Response[bytes]:
        intent_id, body = request.path_params["id"], await request.body()
        if request.content_type[0] != "application/x-www-form-urlencoded":
            return _json(msgspec.json.encode(bank.authenticate(intent_id, outcome_of_json(body))))
        url = bank.return_url(intent_id, outcome_of_form(body))
        if url is None:
            return Response(b"Done. You can close this page.", media_type="text/plain")
        return Response(b"", status_code=303, headers={"Location": url})

    return [authentication_page, authenticate]


def _json(body: bytes, *, status: int = 200, headers: dict[str, str] | None = None) -> Response[bytes]:
    return Response(body, status_code=status, media_type="application/json", headers=headers)


def _refused(request: AnyRequest, error: ApiError) -> Response[bytes]:
    return _json(msgspec.json.encode(error.body()), status=error.status)


def _unrecognized(request: AnyRequest, error: HTTPException) -> Response[bytes]:
    # Stripe answers an unknown path and an unknown method alike.
    return _refused(request, ApiError(404, f"Unrecognized request URL ({request.method}: {request.url.path})."))


def _failed(request: AnyRequest, error: Exception) -> Response[bytes]:
    log.error("call.failed", method=request.method, path=request.url.path, exc_info=error)
    return _refused(request, unknown_failure())
