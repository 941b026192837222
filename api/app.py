"""The gateway's application: routes, how they get at the services, and how errors are shown."""

from __future__ import annotations

from typing import Final

from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide
from litestar.types import ASGIApp

from api.client_address import addressed
from api.conditional import conditional
from api.cors import shared_with
from api.docs import openapi_config
from api.edge import Edge
from api.limits.guards import showing_limits, within_address_limits
from api.measuring import measured
from api.methods import with_all_methods
from api.order_streams import OrderStreams
from api.problems import EXCEPTION_HANDLERS
from api.routes import HANDLERS
from api.security import guarded, security_headers
from api.services import Services
from api.stream_room import StreamLimits, StreamRoom
from api.tracing import traced
from runtime.limits.limiter import Limiter
from runtime.tokens import TokenVerifier

MAX_BODY: Final = 1 << 20
"""Largest request body, bytes: ten times an order of 1,000 lines."""


def create_app(
    services: Services, verifier: TokenVerifier, edge: Edge | None = None, *, streams: OrderStreams | None = None
) -> Litestar:
    """The application in front of `services`.

    Args:
        services: what it calls.
        verifier: of the tokens that it trusts.
        edge: how it meets the internet.
        streams: of orders' events, which whoever gives them ends at a stop; as many as by default when not given.
    """
    edge = edge or Edge()
    streams = streams or OrderStreams(services, verifier, StreamRoom(StreamLimits()))
    app = Litestar(
        route_handlers=HANDLERS,
        guards=[within_address_limits],
        middleware=[measured],
        dependencies={
            "services": Provide(lambda: services, sync_to_thread=False),
            "streams": Provide(lambda: streams, sync_to_thread=False),
        },
        state=State({"verifier": verifier, "limiter": Limiter(services, edge.rates, patience=edge.patience)}),
        exception_handlers=EXCEPTION_HANDLERS,
        openapi_config=openapi_config(),
        request_max_body_size=MAX_BODY,
        return_dto=None,
        logging_config=None,
    )
    app.asgi_handler = _around(app, edge)  # of the router: middleware is inside
    return app


def _around(app: Litestar, edge: Edge) -> ASGIApp:
    """What every request goes through, also one that leads nowhere: the last is the first."""
    handler = with_all_methods(app.asgi_handler, app.routes)
    handler = conditional(handler)
    handler = showing_limits(handler)
    handler = shared_with(handler, edge.origins)
    handler = guarded(handler, security_headers(hsts_max_age=edge.hsts_max_age))
    handler = addressed(handler, edge.proxies)
    return traced(handler, joins_clients=edge.joins_clients)
