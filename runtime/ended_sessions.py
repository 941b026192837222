"""Which sessions have ended: their access tokens are refused before they expire by themselves.

Whoever verifies tokens asks the user service for them again and again, so that no request waits for an answer. When the
user service is away, what is known stays, and a token lives on until it expires, as it would without all this.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from ordersaga.user.v1 import user_pb2 as pb
from ordersaga.user.v1.user_pb2_grpc import UserServiceStub
from runtime.caller import SERVICE
from runtime.identity import Credentials, Part
from runtime.periodic import repeat
from runtime.protos import from_timestamp, to_timestamp
from runtime.rpc_client import call, open_channel
from runtime.settings import Settings

INTERVAL: Final = 20.0
"""Seconds from one answer to the next question: with a call's deadline, well within the minute that is promised."""
_DEADLINE: Final = 5.0
"""Of a question, seconds."""
_SLACK: Final = 120.0
"""How much longer than a token lives its session is remembered, seconds: clocks differ, and answers take a while."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewlyEnded:
    """An answer of the user service.

    Attributes:
        session_ids: of sessions that ended, some of which may have been in the answer before.
        until: from where to ask the next time.
        token_seconds: life of an access token.
    """

    session_ids: Sequence[str]
    until: datetime
    token_seconds: float


Ask = Callable[[datetime | None], Awaitable[NewlyEnded]]
"""Asks which sessions ended since then, or, without a moment, all that matter.

Raises `Unavailable` where nobody answers."""


class EndedSessions:
    """The sessions that are known to have ended.

    Args:
        ask: asks for them.
        clock: monotonic, seconds.
    """

    def __init__(self, ask: Ask, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._clock = clock
        self._until: datetime | None = None
        self._forget_at: dict[str, float] = {}

    def __contains__(self, session_id: object) -> bool:
        return session_id in self._forget_at

    async def catch_up(self) -> None:
        """Ask once for what is new.

        Raises:
            Unavailable: nobody answers; what is known stays.
        """
        answer = await self._ask(self._until)
        self._until = answer.until
        now = self._clock()
        kept = {session_id: at for session_id, at in self._forget_at.items() if at > now}
        self._forget_at = kept | dict.fromkeys(answer.session_ids, now + answer.token_seconds + _SLACK)

    async def follow(self) -> None:
        """Ask again and again, until cancelled."""
        await repeat(self.catch_up, interval=INTERVAL, name="ended_sessions")


@asynccontextmanager
async def ended_sessions_of(settings: Settings, part: Part) -> AsyncIterator[EndedSessions]:
    """Those that the user service tells a part; whoever wants them to become known follows them.

    Raises:
        SettingsError: there is no certificate for the part.
    """
    async with open_channel(Part.USER, settings.user_address, Credentials.of(settings, part)) as channel:
        users = UserServiceStub(channel)

        async def ask(since: datetime | None) -> NewlyEnded:
            request = pb.ListEndedSessionsRequest(since=None if since is None else to_timestamp(since))
            answer = await call(users.ListEndedSessions, request, caller=SERVICE, deadline=_DEADLINE)
            return NewlyEnded(
                session_ids=answer.session_ids,
                until=from_timestamp(answer.until),
                token_seconds=answer.token_seconds,
            )

        yield EndedSessions(ask)
