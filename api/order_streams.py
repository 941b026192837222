"""What happens to an order, as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).

A stream asks the order service for the next transition, which waits for it: there, one LISTEN connection wakes whoever
waits, however many they are. So an open stream is one call under way, and whatever restarts or stops, the client comes
back with the number of the last event that it has.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import msgspec
import structlog

from api.schemas.orders import Transition
from api.services import Services
from ordersaga.order.v1 import order_pb2 as pb
from runtime.backoff import Backoff, Retries
from runtime.caller import Caller
from runtime.protos import from_proto
from runtime.refusal import CallRefused
from runtime.rpc_client import ServiceUnavailable, call

log = structlog.stdlib.get_logger(__name__)

HEARTBEAT: Final = 15.0
"""Seconds without an event after which a comment says that the stream still works."""
_RETRY: Final = b"retry: 2000\n\n"
"""After how many milliseconds a client that lost the stream comes back."""
_COMMENT: Final = b": \n\n"
_BACKOFF: Final = Backoff(first=1, longest=15)


class OrderStreams:
    """Streams of orders, until the gateway stops.

    Args:
        services: the order service among them.
        stopping: set when the gateway is to stop: each stream ends then, and its client goes elsewhere.
        heartbeat: see `HEARTBEAT`.
    """

    def __init__(self, services: Services, stopping: asyncio.Event, *, heartbeat: float = HEARTBEAT) -> None:
        self._services = services
        self._stopping = stopping
        self._heartbeat = heartbeat

    async def stream(self, order_id: str, *, caller: Caller, after: int) -> AsyncIterator[bytes]:
        """The transitions of an order behind number `after`, as they come; ends behind one that none can follow.

        It ends, too, when the caller's token has expired: they come back with another one.
        """
        yield _RETRY
        retries = Retries(_BACKOFF)
        while not self._stopping.is_set():
            try:
                answer = await self._next(order_id, caller=caller, after=after)
            except CallRefused:
                return
            except ServiceUnavailable as problem:
                log.warning("stream.service_unavailable", order_id=order_id, problem=str(problem))
                yield _COMMENT
                await self._pause(retries.failed())
                continue
            if answer is None:
                return
            retries.succeeded()
            for transition in answer.transitions:
                after = transition.seq
                yield _encode(from_proto(Transition, transition))
            if answer.is_final:
                return
            if not answer.transitions:
                yield _COMMENT

    async def _next(self, order_id: str, *, caller: Caller, after: int) -> pb.AwaitTransitionsResponse | None:
        """What comes next, or nothing after a while; None when the gateway stops."""
        request = pb.AwaitTransitionsRequest(order_id=order_id, after_seq=after, wait_ms=int(self._heartbeat * 1_000))
        deadline = self._heartbeat + self._services.deadline
        asking = asyncio.ensure_future(
            call(self._services.order.AwaitTransitions, request, caller=caller, deadline=deadline)
        )
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({asking, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return asking.result() if asking.done() else None
        finally:
            asking.cancel()
            stopping.cancel()

    async def _pause(self, seconds: float) -> None:
        stopping = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait({stopping}, timeout=seconds)
        stopping.cancel()


def _encode(transition: Transition) -> bytes:
    return b"id: %d\nevent: transition\ndata: %s\n\n" % (transition.seq, msgspec.json.encode(transition))
