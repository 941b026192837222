"""How the gateway meets the internet: what of that is a setting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from domain.rate_limits import Rates
from runtime.client_address import TrustedProxies
from runtime.limits.limiter import PATIENCE
from runtime.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """Settings of the edge; without any, it limits nobody.

    Attributes:
        joins_clients: whether it goes on with traces that clients name.
        proxies: who is believed when they say whose request it is.
        origins: whose pages may call.
        hsts_max_age: seconds for which browsers are to come by TLS alone; 0 for as they like.
        rates: how often clients may ask.
        patience: seconds that the shared limits get to answer.
    """

    joins_clients: bool = True
    proxies: TrustedProxies = field(default_factory=TrustedProxies)
    origins: Sequence[str] = ()
    hsts_max_age: int = 0
    rates: Rates = field(default_factory=dict)
    patience: float = PATIENCE

    @classmethod
    def of(cls, settings: Settings) -> Edge:
        """Those of the gateway."""
        return cls(
            joins_clients=settings.tracing_joins_clients,
            proxies=TrustedProxies(settings.trusted_proxies),
            origins=settings.cors_origins,
            hsts_max_age=settings.hsts_max_age,
            rates=settings.rates,
        )
