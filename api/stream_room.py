"""How many streams a gateway has open at a time, in all and for one account."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from api.problems import SERVICE_UNAVAILABLE, TOO_MANY_STREAMS, ProblemError
from runtime.settings import Settings, SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """Most streams of a gateway, and most of them that one account has."""

    streams: int = 500
    per_account: int = 20

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Those of the settings.

        Raises:
            SettingsError: streams could take all connections.
        """
        if settings.max_streams >= settings.http_connections:
            raise SettingsError(
                f"ORDERSAGA_MAX_STREAMS: {settings.max_streams} streams leave none of the {settings.http_connections} "
                "connections of ORDERSAGA_HTTP_CONNECTIONS for other requests"
            )
        return cls(streams=settings.max_streams, per_account=settings.max_streams_per_account)


class StreamRoom:
    """Counts the streams that are open."""

    def __init__(self, limits: StreamLimits) -> None:
        self._limits = limits
        self._taken: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        """How many are open."""
        return self._taken.total()

    @contextmanager
    def take(self, account: str) -> Iterator[None]:
        """Room for a stream of this account, as long as the context is open.

        Raises:
            ProblemError: TOO_MANY_STREAMS: the account has as many as it may have; SERVICE_UNAVAILABLE: the gateway.
        """
        if self._taken[account] >= self._limits.per_account:
            raise ProblemError(
                TOO_MANY_STREAMS,
                f"Your account has {self._limits.per_account} streams open here, and may not have more; close one.",
            )
        if self.taken >= self._limits.streams:
            raise ProblemError(
                SERVICE_UNAVAILABLE, f"{self._limits.streams} streams are open here, and no more fit; come back."
            )
        self._taken[account] += 1
        try:
            yield
        finally:
            self._taken[account] -= 1
            if not self._taken[account]:
                del self._taken[account]
