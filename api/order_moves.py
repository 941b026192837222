"""Word of orders that move: one call under way for all that this gateway's clients follow, however many these are.

The call names each order with the number of the last transition that is known, so it does not matter which order
service answers it, nor whether that one was just started: whatever came in between is answered at once. It is made by
the gateway as itself, and says nothing but that an order has moved; what happened is read for each client with their
token.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import Context
from typing import Final

import structlog

from api.services import Services
from domain.limits import MAX_SEQ
from ordersaga.order.v1 import order_pb2 as pb
from runtime.backoff import Backoff, Retries
from runtime.caller import SERVICE
from runtime.refusal import CallRefused
from runtime.rpc_client import ServiceUnavailable, call

log = structlog.stdlib.get_logger(__name__)

WAIT: Final = 15.0
"""Seconds that a call waits for an order to move."""
PACE: Final = 0.1
"""Seconds from the start of a call, which names all orders, to the next: for up to so many, more for more."""
_ORDERS_AT_PACE: Final = 1_000
_BACKOFF: Final = Backoff(first=0.2, longest=5)


class Follower:
    """Somebody who follows an order; `seq` is the number of the last transition that they have."""

    __slots__ = ("_moved", "order_id", "seq")

    def __init__(self, order_id: str, seq: int) -> None:
        self.order_id = order_id
        self.seq = seq
        self._moved = asyncio.Event()

    @property
    def is_waiting(self) -> bool:
        """Whether they have not been told that the order moved."""
        return not self._moved.is_set()

    async def wait(self, seconds: float) -> bool:
        """Wait until the order has moved; false when it did not for so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._moved.wait()
        return self._moved.is_set()

    def tell(self) -> None:
        """The order has moved, or it is time to go."""
        self._moved.set()

    def go_on(self, seq: int) -> None:
        """They have all up to this one, and wait for the next."""
        self.seq = seq
        self._moved.clear()


class _Poll:
    """A call under way: what it asks for, and when the next one may be made, on the event loop's clock."""

    def __init__(self, known: Mapping[str, int], limit: asyncio.Timeout, next_at: float) -> None:
        self._known = known
        self._limit = limit
        self._next_at = next_at

    def covers(self, follower: Follower) -> bool:
        """Whether its answer is the follower's, too."""
        return self._known.get(follower.order_id, MAX_SEQ) <= follower.seq

    def replace(self) -> None:
        """End it as soon as another one may begin."""
        if not self._limit.expired():
            self._limit.reschedule(self._next_at)


class OrderMoves:
    """Tells followers when their orders move; calls the order service only while there are any.

    Args:
        services: the order service among them.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._followers: dict[str, set[Follower]] = {}
        self._poll: _Poll | None = None
        self._polling: asyncio.Task[None] | None = None

    @property
    def followed(self) -> int:
        """How many orders are followed."""
        return len(self._followers)

    @contextmanager
    def follow(self, order_id: str, *, seq: int) -> Iterator[Follower]:
        """Somebody who has the order's transitions up to number `seq`, and wants to be told of the next."""
        follower = Follower(order_id, seq)
        self._followers.setdefault(order_id, set()).add(follower)
        self._ask_for(follower)
        try:
            yield follower
        finally:
            self._followers[order_id].remove(follower)
            if not self._followers[order_id]:
                del self._followers[order_id]
            if not self._followers and self._polling is not None:
                self._polling.cancel()
                self._polling = None

    def go_on(self, follower: Follower, *, seq: int) -> None:
        """The follower has all up to number `seq`, and waits again."""
        follower.go_on(seq)
        self._ask_for(follower)

    def tell_all(self) -> None:
        """Let nobody wait any more."""
        for followers in self._followers.values():
            for follower in followers:
                follower.tell()

    def _ask_for(self, follower: Follower) -> None:
        if self._polling is None or self._polling.done():
            # of no request: it goes on when the one is over that happens to be the first
            self._polling = asyncio.create_task(self._ask_on(), context=Context())
        elif self._poll is not None and not self._poll.covers(follower):
            self._poll.replace()

    async def _ask_on(self) -> None:
        """Ask again and again, until cancelled."""
        retries, loop = Retries(_BACKOFF), asyncio.get_running_loop()
        while True:
            known = self._known()
            next_at = loop.time() + PACE * max(1.0, len(known) / _ORDERS_AT_PACE)
            try:
                if known:  # else everybody reads what they have been told of
                    await self._ask(known, next_at)
                retries.succeeded()
            except TimeoutError:
                pass  # somebody came of whom the call did not know
            except (CallRefused, ServiceUnavailable) as problem:
                log.warning("streams.order_service_unavailable", problem=str(problem), orders=self.followed)
                next_at = loop.time() + retries.failed()
            await asyncio.sleep(max(0.0, next_at - loop.time()))

    async def _ask(self, known: Mapping[str, int], next_at: float) -> None:
        """One call; tells whoever waits for an order that it finds moved.

        Raises:
            TimeoutError: it made room for the next one.
        """
        request = pb.AwaitMovesRequest(
            known=[pb.OrderPosition(order_id=order_id, seq=seq) for order_id, seq in known.items()],
            wait_ms=int(WAIT * 1_000),
        )
        async with asyncio.timeout(None) as limit:
            self._poll = poll = _Poll(known, limit, next_at)
            try:
                deadline = WAIT + self._services.deadline
                answer = await call(self._services.order.AwaitMoves, request, caller=SERVICE, deadline=deadline)
            finally:
                if self._poll is poll:  # else another one asks already
                    self._poll = None
        for position in answer.moved:
            for follower in self._followers.get(position.order_id, ()):
                if follower.seq < position.seq:
                    follower.tell()

    def _known(self) -> dict[str, int]:
        """What has to be asked for: of each order the least that somebody has who waits."""
        known = {}
        for order_id, followers in self._followers.items():
            seqs = [follower.seq for follower in followers if follower.is_waiting]
            if seqs:
                known[order_id] = min(seqs)
        return known
