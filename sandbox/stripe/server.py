"""The double as a server: a part of the embedded stack, or started inside a test."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import AsyncExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Self

from runtime.process import Lifecycle
from runtime.settings import Settings
from sandbox.settings import SandboxSettings
from sandbox.stripe.app import create_app
from sandbox.stripe.calls import Calls
from sandbox.stripe.customer import Bank
from sandbox.stripe.faults import FaultSwitch
from sandbox.stripe.idempotency import IdempotencyKeys
from sandbox.stripe.later import Planner
from sandbox.stripe.ledger import Ledger
from sandbox.stripe.serving import Connections, HttpServer
from sandbox.stripe.store import Store
from sandbox.stripe.switches import Switches
from sandbox.stripe.webhooks import Deliverer

_HOST = "127.0.0.1"


async def run(settings: Settings, lifecycle: Lifecycle) -> None:
    """The double as a part of a process; see `StripeDouble`."""
    sandbox = SandboxSettings.load()
    double = StripeDouble(
        port=sandbox.stripe_port,
        data=sandbox.stripe_folder,
        api_key=settings.required("stripe_api_key"),
        webhook_secret=settings.required("stripe_webhook_secret"),
        webhook_url=sandbox.stripe_webhook_url,
        webhook_events=sandbox.stripe_webhook_events,
    )
    async with double:
        lifecycle.ready()
        await double.serve_until(lifecycle.stopping)


class StripeDouble:
    """Stripe for one account, serving inside ``async with`` at `url`, which is the API base for an SDK.

    What it knows lies in the folder `data` and outlives it, stopped or killed. Events of the types `webhook_events`, or
    all for ``*``, are delivered to `webhook_url`; without one, none is. Port 0 takes a free one. `clock` tells unix
    seconds. Refunds of the test cards whose refunds are late change by themselves `refunds_late_after` seconds after
    they were made, or only by a switch when it is None; see `switches`.
    """

    def __init__(
        self,
        *,
        data: Path,
        api_key: str,
        webhook_secret: str,
        webhook_url: str | None,
        webhook_events: Collection[str] = ("*",),
        port: int = 0,
        refunds_late_after: float | None = 5.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.url = ""
        self._data = data
        self._api_key = api_key
        self._webhook_secret = webhook_secret
        self._webhook_url = webhook_url
        self._webhook_events = webhook_events
        self._port = port
        self._refunds_late_after = refunds_late_after
        self._clock = clock
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            listener = stack.enter_context(socket.create_server((_HOST, self._port), backlog=512))
            # asyncio does this only for sockets whose protocol is named; without it, an answer's body waits 40 ms for
            # the client's acknowledgement of the headers.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.url = f"http://{_HOST}:{listener.getsockname()[1]}"
            store = stack.enter_context(closing(Store(self._data)))
            await self._start(store, listener, stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def serve_until(self, stopping: asyncio.Event) -> None:
        """Wait for the event; raises what ended the serving or the delivering earlier."""
        await _reached(stopping, self._tasks)

    def wake(self) -> None:
        """Look at what is due: for a test that moved its clock. Refunds that are due have changed on return."""
        self._planner.carry_out_due()
        self._look_again()

    def _look_again(self) -> None:
        self._planner.wake()
        self._deliverer.wake()

    async def _start(self, store: Store, listener: socket.socket, stack: AsyncExitStack) -> None:
        faults = FaultSwitch()
        self._deliverer = Deliverer(store, url=self._webhook_url or "", secret=self._webhook_secret, clock=self._clock)
        ledger = self._ledger(store, faults)
        self._planner = Planner(store, ledger, clock=self._clock, owed=self._deliverer.wake)
        server = self._http_server(store, ledger, faults)
        runs = [self._planner.run] if self._webhook_url is None else [self._planner.run, self._deliverer.run]
        for running in runs:
            task = asyncio.create_task(running())
            stack.push_async_callback(_cancel, task)
            self._tasks.append(task)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        stack.push_async_callback(asyncio.wait, [serving])
        stack.callback(server.stop)
        stack.callback(faults.clear)  # calls that a delay holds up would hold up the stop
        self._tasks.append(serving)
        await _reached(server.listening, self._tasks)

    def _ledger(self, store: Store, faults: FaultSwitch) -> Ledger:
        return Ledger(
            store,
            faults=faults,
            clock=self._clock,
            enabled_events=frozenset(() if self._webhook_url is None else self._webhook_events),
            base_url=self.url,
            late_after=self._refunds_late_after,
        )

    def _http_server(self, store: Store, ledger: Ledger, faults: FaultSwitch) -> HttpServer:
        calls = Calls(
            api_key=self._api_key,
            store=store,
            ledger=ledger,
            keys=IdempotencyKeys(store, self._clock),
            faults=faults,
            clock=self._clock,
            owed=self._look_again,
        )
        connections = Connections()
        app = create_app(
            calls=calls,
            bank=Bank(store, ledger, self._look_again),
            faults=faults,
            switches=Switches(store, ledger, self._look_again),
            hang_up=connections.hang_up,
        )
        return HttpServer(app, connections)


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
