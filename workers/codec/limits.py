"""How often somebody may try to sign in: as often as at the gateway, and together with what is tried there."""

from __future__ import annotations

from dataclasses import dataclass

from domain.rate_limits import Limit
from runtime.client_address import TrustedProxies, subscriber
from runtime.limits.limiter import Limiter, LimitExceeded
from runtime.limits.logins import KNOWN_FOR, owner_key, permits_of_login
from workers.codec.access import AnyRequest
from workers.codec.problems import TOO_MANY_REQUESTS, ProblemError

_NOBODY = "unknown"


@dataclass(frozen=True, slots=True)
class SignInLimits:
    """Counts attempts by address and by account.

    Attributes:
        limiter: whom to ask for permits.
        proxies: who is believed when they say whose request it is.
    """

    limiter: Limiter
    proxies: TrustedProxies

    async def take_of_address(self, request: AnyRequest) -> None:
        """Count an attempt from there, for whichever account.

        Raises:
            ProblemError: TOO_MANY_REQUESTS.
        """
        await self._take(Limit.LOGINS, self._subscriber(request))

    async def take_of_account(self, request: AnyRequest, email: str) -> None:
        """Count an attempt for the account.

        Raises:
            ProblemError: TOO_MANY_REQUESTS.
        """
        for permit in permits_of_login(email, self._subscriber(request)):
            await self._take(permit.limit, *permit.whose, unless_exempt=permit.unless_exempt)

    async def note(self, request: AnyRequest, email: str) -> None:
        """Know the account's owner by this address from now on."""
        if Limit.LOGINS_ELSEWHERE in self.limiter.rates:
            await self.limiter.exempt(owner_key(email, self._subscriber(request)), seconds=KNOWN_FOR)

    async def _take(self, limit: Limit, *whose: str, unless_exempt: bytes | None = None) -> None:
        try:
            await self.limiter.take(limit, *whose, unless_exempt=unless_exempt)
        except LimitExceeded as exceeded:
            wait = exceeded.standing.wait
            raise ProblemError(TOO_MANY_REQUESTS, f"Try again in {wait} s.", retry_after=wait) from None

    def _subscriber(self, request: AnyRequest) -> str:
        peer = request.client.host if request.client else ""
        address = self.proxies.client_of(peer, request.headers.getall("x-forwarded-for", []))
        return _NOBODY if address is None else subscriber(address)
