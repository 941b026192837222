"""A payment service in a process of its own, which may die at any point; see `tests.support.failpoints`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import stripe

from runtime.wakeups import Wakeups
from services.payment.inbox import Inbox
from services.payment.intake import EventIntake
from services.payment.parts import put_together
from services.payment.sagas import Sagas
from services.payment.stripe_client import StripeClient
from services.payment.sweep import Sweep
from tests.support.failpoints import Lifecycle, MortalDatabase
from tests.support.payment_harness import PaymentHarness, sign
from tests.support.stripe_double import API_KEY, WEBHOOK_SECRET


class MortalStripe(StripeClient):
    """Stripe as one process sees it: each request is an act. They are sent through `http`, which outlives it."""

    def __init__(self, http: stripe.HTTPClient, life: Lifecycle, *, api_base: str) -> None:
        super().__init__(api_key=API_KEY, api_base=api_base, timeout=5, payment_method_types=["card"])

        async def request(method: str, url: str, headers: Mapping[str, str], post_data: Any = None) -> Any:
            with life.act(f"{method.upper()} {urlsplit(url).path}"):
                return await http.request_async(method, url, headers, post_data)

        self._http.request_async = request  # type: ignore[method-assign]  # of this client alone


class MortalSagas:
    """Temporal as one process sees it."""

    def __init__(self, real: Sagas, life: Lifecycle) -> None:
        self._real = real
        self._life = life

    async def payment_changed(self, *, order_id: str, event_id: str) -> None:
        with self._life.act("signal"):
            await self._real.payment_changed(order_id=order_id, event_id=event_id)

    async def follow_refund(self, *, refund_id: str, order_id: str, has_news: bool) -> None:
        with self._life.act("follow refund"):
            await self._real.follow_refund(refund_id=refund_id, order_id=order_id, has_news=has_news)

    async def follow_dispute(self, *, dispute_id: str, order_id: str, has_news: bool) -> None:
        with self._life.act("follow dispute"):
            await self._real.follow_dispute(dispute_id=dispute_id, order_id=order_id, has_news=has_news)


class PaymentProcess:
    """All parts of a payment service, sharing one life and nothing but PostgreSQL and Stripe with another process.

    Its inbox works off one event at a time, so that its acts come in the same order each time.
    """

    def __init__(self, harness: PaymentHarness, life: Lifecycle) -> None:
        database = MortalDatabase(harness.database, life)
        client = MortalStripe(harness.client._http, life, api_base=str(harness.browser.base_url).rstrip("/"))
        sagas = MortalSagas(harness.sagas, life)
        self.parts = put_together(database, client, sagas, Wakeups())
        self.service = self.parts.payments
        self.inbox = Inbox(database, self.service, sagas, patience=timedelta(minutes=10), concurrency=1)
        self._intake = EventIntake(
            database, secrets=(WEBHOOK_SECRET,), livemode=client.livemode, on_stored=self.inbox.wake
        )
        self.sweep = Sweep(database, client, self._intake)

    async def take_webhook(self, body: bytes) -> None:
        """Take a webhook, well signed, and work off what is due."""
        await self._intake.receive_webhook(body=body, signature=sign(body))
        await self.inbox.work_off_due()

    async def sweep_up(self) -> None:
        """Sweep Stripe's events, and work off what is due."""
        await self.sweep.sweep()
        await self.inbox.work_off_due()
