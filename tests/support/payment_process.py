"""A payment service in a process of its own, which may die at any point; see `tests.support.failpoints`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import stripe

from services.payment.bootstrap import PaymentComponents, bootstrap
from services.payment.sagas import Sagas
from tests.support.failpoints import Lifecycle, MortalDatabase
from tests.support.payment_harness import PaymentHarness, sign, sweep


class MortalHttp(stripe.HTTPClient):
    """Stripe as one process sees it: each request is an act. They are sent through `real`, which outlives it."""

    name = "mortal"

    def __init__(self, real: stripe.HTTPClient, life: Lifecycle) -> None:
        super().__init__()
        self._real = real
        self._life = life

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[Any, int, Any]:
        with self._life.act(f"{method.upper()} {urlsplit(url).path}"):
            return await self._real.request_async(method, url, headers, post_data)


class MortalSagas:
    """Temporal as one process sees it."""

    def __init__(self, real: Sagas, life: Lifecycle) -> None:
        self._real = real
        self._life = life

    async def notify_order(self, *, order_id: str, event_id: str) -> None:
        with self._life.act("notify order"):
            await self._real.notify_order(order_id=order_id, event_id=event_id)

    async def ensure_refund_saga(self, *, refund_id: str, order_id: str, changed: bool) -> None:
        with self._life.act("ensure refund saga"):
            await self._real.ensure_refund_saga(refund_id=refund_id, order_id=order_id, changed=changed)

    async def ensure_dispute_case(self, *, dispute_id: str, order_id: str, changed: bool) -> None:
        with self._life.act("ensure dispute case"):
            await self._real.ensure_dispute_case(dispute_id=dispute_id, order_id=order_id, changed=changed)


@asynccontextmanager
async def payment_process(harness: PaymentHarness, life: Lifecycle) -> AsyncIterator[PaymentComponents]:
    """A payment service that shares one life, and nothing but PostgreSQL, Stripe and Temporal with another process.

    It processes one event at a time, so that its acts come in the same order each time.
    """
    async with bootstrap(
        harness.settings.model_copy(update={"provider_events_in_progress": 1}),
        database=MortalDatabase(harness.database, life),
        stripe_http=MortalHttp(harness.client.http, life),
        sagas=MortalSagas(harness.sagas, life),
    ) as components:
        yield components


async def take_webhook(components: PaymentComponents, body: bytes) -> None:
    """Take a webhook, well signed, and process what is due."""
    await components.webhooks.receive(body=body, signature=sign(body))
    await components.inbox.process_due()


async def sweep_up(components: PaymentComponents) -> None:
    """Sweep Stripe's events, and process what is due."""
    await sweep(components)
    await components.inbox.process_due()
