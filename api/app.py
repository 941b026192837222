"""The gateway's application: routes, how they get at the services, and how errors are shown."""

from __future__ import annotations

from typing import Final

from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide

from api.docs import openapi_config
from api.measuring import measured
from api.order_streams import OrderStreams
from api.problems import EXCEPTION_HANDLERS
from api.routes import HANDLERS
from api.services import Services
from api.stream_room import StreamLimits, StreamRoom
from api.tracing import traced
from runtime.tokens import TokenVerifier

MAX_BODY: Final = 1 << 20
"""Largest request body, bytes: ten times an order of 1,000 lines."""


def create_app(
    services: Services,
    verifier: TokenVerifier,
    *,
    joins_clients: bool = True,
    streams: OrderStreams | None = None,
) -> Litestar:
    """The application in front of `services`.

    Args:
        services: what it calls.
        verifier: of the tokens that it trusts.
        joins_clients: whether it goes on with traces that clients name.
        streams: of orders' events, which whoever gives them ends at a stop; as many as by default when not given.
    """
    streams = streams or OrderStreams(services, verifier, StreamRoom(StreamLimits()))
    app = Litestar(
        route_handlers=HANDLERS,
        middleware=[measured],
        dependencies={
            "services": Provide(lambda: services, sync_to_thread=False),
            "streams": Provide(lambda: streams, sync_to_thread=False),
        },
        state=State({"verifier": verifier}),
        exception_handlers=EXCEPTION_HANDLERS,
        openapi_config=openapi_config(),
        request_max_body_size=MAX_BODY,
        return_dto=None,
        logging_config=None,
    )
    app.asgi_handler = traced(app.asgi_handler, joins_clients=joins_clients)  # around the router: middleware is inside
    return app
