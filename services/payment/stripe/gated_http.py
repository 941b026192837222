"""Stripe's API behind the gate: each request of the SDK waits for its turn."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any

import stripe

from services.payment.stripe.gate import StripeGate


class GatedHttp(stripe.HTTPClient):
    """Sends each request through another client once the gate lets it through; see `StripeGate.enter`.

    Args:
        real: sends the requests; it is not closed from here.
        gate: lets them through.
    """

    name = "gated"

    def __init__(self, real: stripe.HTTPClient, gate: StripeGate) -> None:
        super().__init__()
        self._real = real
        self._gate = gate

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[Any, int, Any]:
        """As the other client answers it."""
        async with self._gate.enter():
            answer: tuple[Any, int, Any] = await self._real.request_async(method, url, headers, post_data)
            return answer

    def sleep_async(self, secs: float) -> Awaitable[None]:
        """Wait between two attempts, when the SDK is set to retry."""
        return self._real.sleep_async(secs)
