"""A shop's webhook endpoint, served on a port of its own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import stripe
from litestar import Litestar, Request, Response, post

from sandbox.stripe.http.serving import Connections, HttpServer
from tests.support.stripe_double import WEBHOOK_SECRET

URL: Final = "https://shop.example.test/webhooks/stripe"
"""Where an endpoint is that nobody calls."""


class Endpoint:
    """Keeps the events that it got, and answers with the statuses that it was given, then with 200.

    Attributes:
        secret: what its events have to be signed with.
        url: where it is.
    """

    def __init__(self) -> None:
        self.events: list[stripe.Event] = []
        self.statuses: list[int] = []
        self.secret = WEBHOOK_SECRET
        self.url = ""
        self._changed = asyncio.Condition()

    async def receive(self, body: bytes, signature: str) -> int:
        event = stripe.Webhook.construct_event(body, signature, self.secret)
        status = self.statuses.pop(0) if self.statuses else 200
        async with self._changed:
            self.events.append(event)
            self._changed.notify_all()
        return status

    async def received(self, count: int) -> list[stripe.Event]:
        """Wait until that many arrived."""
        async with asyncio.timeout(20), self._changed:
            await self._changed.wait_for(lambda: len(self.events) >= count)
        return self.events


@asynccontextmanager
async def served_endpoint() -> AsyncIterator[Endpoint]:
    """An endpoint as long as the context is open."""
    made = Endpoint()

    @post("/hook")
    async def hook(request: Request[Any, Any, Any]) -> Response[None]:
        status = await made.receive(await request.body(), request.headers["stripe-signature"])
        return Response(None, status_code=status)

    app = Litestar([hook], openapi_config=None, logging_config=None)
    listener = socket.create_server(("127.0.0.1", 0))
    server = HttpServer(app, Connections())
    task = asyncio.create_task(server.serve(sockets=[listener]))
    await server.listening.wait()
    made.url = f"http://127.0.0.1:{listener.getsockname()[1]}/hook"
    try:
        yield made
    finally:
        server.stop()
        await task


async def make_endpoint(
    client: stripe.StripeClient, *events: str, url: str = URL, **params: Any
) -> stripe.WebhookEndpoint:
    """An endpoint that gets these events, or all."""
    wanted: Any = {"url": url, "enabled_events": events or ["*"], **params}
    return await client.v1.webhook_endpoints.create_async(wanted)
