"""The codec server as a component."""

from __future__ import annotations

from contextlib import AsyncExitStack

from runtime.ended_sessions import ended_sessions_of
from runtime.health import Checks
from runtime.http_server import http_server
from runtime.identity import Part
from runtime.limits.limiter import Limiter
from runtime.periodic import beside
from runtime.process import Lifecycle
from runtime.settings import Settings, SettingsError
from workers.codec.app import create_app
from workers.codec.users import open_users


async def run(settings: Settings, lifecycle: Lifecycle) -> None:
    """Serve until the process stops.

    Raises:
        SettingsError: there are no keys, no certificate, or the port is taken.
    """
    host, port = settings.codec_host, settings.codec_port
    async with open_users(settings) as user_side, AsyncExitStack() as stack:
        ended = await stack.enter_async_context(ended_sessions_of(settings, Part.CODEC_SERVER))
        app = create_app(settings, user_side.users, Limiter(user_side, settings.rates), ended=ended)
        await stack.enter_async_context(beside(ended.follow))
        lifecycle.health.watch(Checks(uses={"user": user_side.is_serving}))
        try:
            async with http_server(app, host=host, port=port, grace=settings.shutdown_grace):
                lifecycle.ready()
                await lifecycle.stopping.wait()
        except OSError as error:
            raise SettingsError(f"ORDERSAGA_CODEC_PORT: cannot listen on {host}:{port}: {error.strerror}") from error
