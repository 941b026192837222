"""The gateway as a part of a process."""

from __future__ import annotations

from contextlib import AsyncExitStack

from api.app import create_app
from api.edge import Edge
from api.order_streams import OrderStreams
from api.security import security_headers
from api.services import open_services
from api.stream_room import StreamLimits, StreamRoom
from runtime.ended_sessions import ended_sessions_of
from runtime.health import Checks
from runtime.http_limits import HttpLimits
from runtime.http_server import http_server
from runtime.identity import Part
from runtime.periodic import beside
from runtime.process import Lifecycle
from runtime.settings import Settings, SettingsError
from runtime.tokens import TokenVerifier


async def run(settings: Settings, lifecycle: Lifecycle) -> None:
    """Serve HTTP until the process stops; running requests get the grace to end.

    Raises:
        SettingsError: the port is taken, or a certificate or the public keys are missing or do not fit, or streams
            could take all connections.
    """
    limits = StreamLimits.of(settings)
    async with open_services(settings) as services, AsyncExitStack() as stack:
        ended = await stack.enter_async_context(ended_sessions_of(settings, Part.GATEWAY))
        verifier = TokenVerifier(settings.required("jwt_public_keys"), ended=ended)
        await stack.enter_async_context(beside(ended.follow))
        streams = OrderStreams(services, verifier, StreamRoom(limits))
        app = create_app(services, verifier, Edge.of(settings), streams=streams)
        # a service that is away costs its own answers, 503, and nothing else
        lifecycle.health.watch(Checks(uses=services.health))
        host, port = settings.gateway_host, settings.gateway_port
        server = http_server(
            app,
            host=host,
            port=port,
            grace=settings.shutdown_grace,
            limits=HttpLimits.of_gateway(settings),
            rejection_headers=security_headers(hsts_max_age=settings.hsts_max_age),
            is_draining=lambda: lifecycle.health.is_stopping,
        )
        try:
            await stack.enter_async_context(server)
        except OSError as error:
            raise SettingsError(f"ORDERSAGA_GATEWAY_PORT: cannot listen on {host}:{port}: {error.strerror}") from error
        stack.callback(streams.end)
        lifecycle.ready()
        await lifecycle.stopping.wait()
