"""What happens to an order, as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).

An open stream waits in memory alone (`api.order_moves`). Whatever restarts or stops, its client comes back with the
number of the last event that it has.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress
from typing import Final

import msgspec
import structlog

from api.order_moves import Follower, OrderMoves
from api.problems import SERVICE_UNAVAILABLE, ProblemError
from api.schemas.orders import Transition
from api.services import Services
from api.stream_room import StreamRoom
from ordersaga.order.v1 import order_pb2 as pb
from runtime.backoff import Backoff, Retries
from runtime.caller import Caller
from runtime.protos import from_proto
from runtime.refusal import CallRefused, Unavailable
from runtime.rpc_client import ServiceUnavailable, call
from runtime.tokens import InvalidToken, TokenVerifier
from runtime.turns import Turns

log = structlog.stdlib.get_logger(__name__)

HEARTBEAT: Final = 15.0
"""Seconds without an event after which a comment says that the stream still works."""
_RETRY_MS: Final = (1_000, 5_000)
"""After how many milliseconds a client comes back that lost the stream: not all of a gateway at the same moment."""
_COMMENT: Final = b": \n\n"
_NOTHING: Final = pb.ListTransitionsResponse()
_BACKOFF: Final = Backoff(first=0.2, longest=5)
_AT_ONCE: Final = 4
"""Streams that read at a time, so that other requests need not wait behind a rush of them."""
_PATIENCE: Final = 2.0
"""What a new stream gets for its turn, seconds."""


class NoTurn(Unavailable):
    """Too many streams want to read, or the gateway stops."""


class OrderStreams:
    """Streams of orders, until the gateway stops.

    Args:
        services: the order service among them.
        verifier: of the tokens that clients came with: a stream ends with its client's.
        room: how many streams there may be.
        heartbeat: see `HEARTBEAT`.
    """

    def __init__(
        self, services: Services, verifier: TokenVerifier, room: StreamRoom, *, heartbeat: float = HEARTBEAT
    ) -> None:
        self._services = services
        self._verifier = verifier
        self.room = room
        self.heartbeat = heartbeat
        self.moves = OrderMoves(services)
        self._turns = Turns(_AT_ONCE, of="turn to read", error=NoTurn)
        self._ended = asyncio.Event()

    @property
    def has_ended(self) -> bool:
        """Whether the gateway stops."""
        return self._ended.is_set()

    def end(self) -> None:
        """End each stream, now that the gateway stops: its client goes elsewhere."""
        self._ended.set()
        self.moves.tell_all()

    async def open(self, reference: str, *, caller: Caller, after: int) -> OrderStream | None:
        """The stream of an order, by its id or number, from behind transition `after` on; it has to be closed.

        Returns:
            None: the caller has all of them, and no other can follow.

        Raises:
            ProblemError: TOO_MANY_STREAMS, SERVICE_UNAVAILABLE: there is no room for another one.
            CallRefused: there is no such order that the caller may see.
            ServiceUnavailable: the order service does not answer.
        """
        with ExitStack() as stack:
            stack.enter_context(self.room.take(caller.key))
            try:
                history = await self.read(reference, caller=caller, after=after, patience=_PATIENCE)
            except NoTurn:
                raise ProblemError(SERVICE_UNAVAILABLE, "No stream can be opened here now; come back.") from None
            if history.is_final and not history.transitions:
                return None
            follower = stack.enter_context(self.moves.follow(history.order_id, seq=_last_seq(history, after)))
            return OrderStream(self, history, follower, caller=caller, stack=stack.pop_all())

    async def read(
        self, reference: str, *, caller: Caller, after: int, patience: float | None
    ) -> pb.ListTransitionsResponse:
        """What happened behind transition `after`, once it is this stream's turn: in `patience` seconds, or ever.

        Raises:
            NoTurn: it did not come, or only now that the gateway stops.
        """
        request = pb.ListTransitionsRequest(order_id=reference, after_seq=after)
        async with self._turns.take(wait=patience):
            if self.has_ended:
                raise NoTurn("the gateway stops")
            return await call(
                self._services.order.ListTransitions, request, caller=caller, deadline=self._services.deadline
            )

    def is_signed_in(self, caller: Caller) -> bool:
        """Whether the caller's token is still good."""
        try:
            self._verifier.verify(caller.token)
        except InvalidToken:
            return False
        return True

    async def pause(self, seconds: float) -> None:
        """Wait so long, or until the gateway stops."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ended.wait()


class OrderStream:
    """The stream of one order for one caller. It takes room until it is closed, whether or not it was read."""

    def __init__(
        self,
        streams: OrderStreams,
        history: pb.ListTransitionsResponse,
        follower: Follower,
        *,
        caller: Caller,
        stack: ExitStack,
    ) -> None:
        """It begins with the `history`, behind which the `follower` waits; the `stack` is what is left in the end."""
        self._streams = streams
        self._history = history
        self._follower = follower
        self._caller = caller
        self._stack = stack
        self._retries = Retries(_BACKOFF)

    def close(self) -> None:
        """Free what it holds; can be repeated."""
        self._stack.close()

    async def events(self) -> AsyncIterator[bytes]:
        """The transitions as they come, and comments in between.

        It ends behind a transition that none can follow, when the caller's token has expired, and when the gateway
        stops.
        """
        yield b"retry: %d\n\n" % random.randint(*_RETRY_MS)  # noqa: S311 - spreads load, keeps no secret
        history: pb.ListTransitionsResponse | None = self._history
        while history is not None:
            for transition in history.transitions:
                yield _encode(from_proto(Transition, transition))
            if history.is_final:
                return
            if not history.transitions:
                yield _COMMENT
            history = await self._next()

    async def _next(self) -> pb.ListTransitionsResponse | None:
        """What happened next, or nothing after a while; None when the stream is to end."""
        streams, follower = self._streams, self._follower
        if streams.has_ended:  # before this one waited
            return None
        has_moved = await follower.wait(streams.heartbeat)
        if streams.has_ended or not streams.is_signed_in(self._caller):
            return None
        if not has_moved:
            return _NOTHING
        try:
            history = await streams.read(follower.order_id, caller=self._caller, after=follower.seq, patience=None)
        except (CallRefused, NoTurn):  # the token has expired on the way, or the gateway stops
            return None
        except ServiceUnavailable as problem:
            log.warning("stream.service_unavailable", order_id=follower.order_id, problem=str(problem))
            await streams.pause(self._retries.failed())
            return _NOTHING  # and it is read again at once: the follower has not gone on
        self._retries.succeeded()
        streams.moves.go_on(follower, seq=_last_seq(history, follower.seq))
        return history


def _last_seq(history: pb.ListTransitionsResponse, before: int) -> int:
    return history.transitions[-1].seq if history.transitions else before


def _encode(transition: Transition) -> bytes:
    return b"id: %d\nevent: transition\ndata: %s\n\n" % (transition.seq, msgspec.json.encode(transition))
