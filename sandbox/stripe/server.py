"""An account over HTTP: a part of the embedded stack, or started inside a test."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from contextlib import AsyncExitStack, suppress
from types import TracebackType
from typing import Self

from runtime.process import Lifecycle
from runtime.settings import Settings
from sandbox.settings import SandboxSettings
from sandbox.stripe.account import StripeAccount
from sandbox.stripe.http.app import create_app
from sandbox.stripe.http.serving import Connections, HttpServer
from sandbox.stripe.http.webhooks import Deliverer
from sandbox.stripe.store import Store

_HOST = "127.0.0.1"


async def run(settings: Settings, lifecycle: Lifecycle) -> None:
    """The double as a part of a process, with its account on disk; see `StripeDouble`."""
    sandbox = SandboxSettings.load()
    account = StripeAccount(
        api_key=settings.required("stripe_api_key"),
        webhook_secret=settings.required("stripe_webhook_secret"),
        store=Store(sandbox.stripe_folder),
        webhook_events=sandbox.stripe_webhook_events,
    )
    with account:
        async with StripeDouble(account, port=sandbox.stripe_port, webhook_url=sandbox.stripe_webhook_url) as double:
            lifecycle.ready()
            await double.serve_until(lifecycle.stopping)


class StripeDouble:
    """Serves an account inside ``async with`` at `url`, which is the API base for an SDK.

    Events are delivered to the account's webhook endpoints. The one that it is configured with, if it is, is at
    `webhook_url`. Port 0 takes a free one. The account is the caller's to close.

    Raises:
        ValueError: the account is configured with an endpoint and there is no URL, or the other way round.
    """

    def __init__(self, account: StripeAccount, *, webhook_url: str | None = None, port: int = 0) -> None:
        if webhook_url is None and account.has_endpoint:
            raise ValueError("the account has a webhook endpoint: give it a URL")
        if webhook_url is not None and not account.has_endpoint:
            raise ValueError("the account has no webhook endpoint: give it `webhook_events`")
        self.account = account
        self.url = ""
        self._webhook_url = webhook_url
        self._port = port
        self._woken = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            listener = stack.enter_context(socket.create_server((_HOST, self._port), backlog=512))
            # asyncio does this only for sockets whose protocol is named; without it, an answer's body waits 40 ms for
            # the client's acknowledgement of the headers.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.url = self.account.base_url = f"http://{_HOST}:{listener.getsockname()[1]}"
            await self._start(listener, stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def serve_until(self, stopping: asyncio.Event) -> None:
        """Wait for the event; raises what ended the serving or the delivering earlier."""
        await _reached(stopping, self._tasks)

    async def _start(self, listener: socket.socket, stack: AsyncExitStack) -> None:
        if self._webhook_url is not None:
            self.account.serve_endpoint(self._webhook_url)
        deliverer = Deliverer(self.account.deliveries, clock=self.account.clock)
        stack.enter_context(self.account.listening(self._woken.set))
        stack.enter_context(self.account.listening(deliverer.wake))
        for running in (self._run_due, deliverer.run):
            task = asyncio.create_task(running())
            stack.push_async_callback(_cancel, task)
            self._tasks.append(task)
        connections = Connections()
        server = HttpServer(create_app(self.account, hang_up=connections.hang_up), connections)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        stack.push_async_callback(asyncio.wait, [serving])
        stack.callback(server.stop)
        stack.callback(self.account.faults.release)  # calls that a delay holds up would hold up the stop
        self._tasks.append(serving)
        await _reached(server.listening, self._tasks)

    async def _run_due(self) -> None:
        """Let happen what is due, as the time passes."""
        while True:
            self._woken.clear()
            pause = self.account.run_due()
            with suppress(TimeoutError):  # the next change is due
                await asyncio.wait_for(self._woken.wait(), pause)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


async def _reached(event: asyncio.Event, tasks: Iterable[asyncio.Task[None]]) -> None:
    """Wait for the event; raises what a task raised that ended before."""
    waiting = asyncio.create_task(event.wait())
    try:
        ended, _ = await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()
    finally:
        waiting.cancel()
