"""Stripe does not answer, and 200 orders wait for it: orders that need no Stripe go on as if there were none."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import pytest_asyncio
from temporalio import activity
from temporalio.client import WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment

from activities import calling
from domain.orders import OrderStatus
from domain.saga import OrderResult, payment_queue
from domain.stuck_steps import WAITS_FOR_STRIPE
from services.payment.stripe.gate import Lane
from tests.support.client import until
from tests.support.payment_harness import sign
from tests.support.saga_shop import Shop, open_shop

Run = WorkflowHandle[Any, OrderResult]

VISA: Final = "pm_card_visa"
WAITING: Final = 200
"""Card orders: more than a worker has slots of every kind together."""
OTHERS: Final = 5
"""Of each kind of order that needs no Stripe."""
NEVER_MS: Final = 600_000
NOISE: Final = 2.0
"""Seconds by which two runs of the same work may differ on a busy machine."""


@pytest_asyncio.fixture
async def patient_shop(
    disposable_databases: Mapping[str, str], disposable_env: WorkflowEnvironment, tmp_path: Path
) -> AsyncIterator[Shop]:
    """A shop that waits for Stripe and its events for as long as the test takes."""
    async with open_shop(
        disposable_databases, disposable_env, data=tmp_path, stripe_timeout=60, payment_event_timeout=600
    ) as shop:
        yield shop
        await shop.switch("faults")  # so that nothing waits for an answer when the services stop


class Attempts:
    """Attempts at steps that may ask Stripe, counted where they call the payment service."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asking = 0
        """Local ones under way, which may ask Stripe."""
        self.most_asking = 0
        self.deferred = 0
        """Sent on to the payment queue, because no slot was free."""
        self.queues: set[str] = set()
        """Of those that are retried."""
        self._call = calling.call_service
        monkeypatch.setattr(calling, "call_service", self._count)

    async def _count(self, method: Any, request: Any) -> Any:
        asks = activity.info().is_local and getattr(request, "without_stripe", None) is False
        if not activity.info().is_local and hasattr(request, "without_stripe"):
            self.queues.add(activity.info().task_queue)
        self.asking += asks
        self.most_asking = max(self.most_asking, self.asking)
        try:
            return await self._call(method, request)
        except ApplicationError as error:
            self.deferred += error.type == WAITS_FOR_STRIPE
            raise
        finally:
            self.asking -= asks


@dataclass(frozen=True, slots=True)
class Paid:
    """Orders whose money is in, and which wait for Stripe's events of that."""

    runs: Sequence[Run]
    events: Sequence[bytes]


async def paid_at_stripe(shop: Shop, product: str) -> Paid:
    runs = [await shop.place((product, 1), payment_method=VISA, wait=10) for _ in range(OTHERS)]
    await until_all(shop, runs, OrderStatus.PENDING)
    page = await shop.stripe.v1.events.list_async({"limit": OTHERS, "type": "payment_intent.succeeded"})
    return Paid(runs, [msgspec.json.encode(event.to_dict(for_json=True)) for event in page.data])


async def until_all(shop: Shop, runs: Sequence[Run], status: OrderStatus) -> None:
    async def read() -> Counter[OrderStatus]:
        return Counter([(await shop.order(run)).status for run in runs])

    await until(read, lambda found: found == {status: len(runs)})


async def seconds_of_others(shop: Shop, *, free: str, scarce: str, paid: Paid) -> float:
    """Orders that need no Stripe, to their ends: free ones, refused ones, and paid ones of which Stripe's events come.

    One of those has a step that fails at first, and is retried by the queue of everything that needs no Stripe.
    """

    async def fail() -> None:
        raise ApplicationError("for once")

    began = time.monotonic()
    shop.hooks.before["commit"] = fail
    free_runs = [await shop.place((free, 1)) for _ in range(OTHERS)]
    refused_runs = [await shop.place((free, 1), (scarce, 1)) for _ in range(OTHERS)]
    for event in paid.events:
        await shop.payment.webhooks.receive(body=event, signature=sign(event))
    await shop.payment.inbox.process_due()
    await until_all(shop, free_runs, OrderStatus.PAID)
    await until_all(shop, refused_runs, OrderStatus.FAILED)
    await until_all(shop, paid.runs, OrderStatus.PAID)
    return time.monotonic() - began


@pytest.mark.timeout(240)
async def test_what_needs_no_stripe_goes_on_while_200_orders_wait_for_it(
    patient_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = patient_shop
    card = await shop.product(price=1_000, units=1_000)
    free, scarce = await shop.product(price=0, units=1_000), await shop.product(price=0, units=0)
    before, meanwhile = await paid_at_stripe(shop, card), await paid_at_stripe(shop, card)
    quiet = await seconds_of_others(shop, free=free, scarce=scarce, paid=before)
    attempts = Attempts(monkeypatch)
    await shop.switch("faults", api={"delay_ms": [NEVER_MS, NEVER_MS]})
    waiting = await asyncio.gather(*(shop.place((card, 1)) for _ in range(WAITING)))
    await until_nobody_moves(shop, waiting, attempts)

    slow = await seconds_of_others(shop, free=free, scarce=scarce, paid=meanwhile)

    assert slow <= 2 * quiet + NOISE
    assert attempts.queues == {payment_queue(shop.settings.temporal_task_queue)}
    assert attempts.most_asking <= shop.settings.local_payment_slots < shop.settings.workflow_slots
    assert shop.payment.stripe.gate.standing(Lane.CALLS)[0] == shop.settings.stripe_calls_in_progress
    assert [run.id for run in waiting if "open_payment" in shop.steps_of(run)] == []


async def until_nobody_moves(shop: Shop, runs: Sequence[Run], attempts: Attempts) -> None:
    """Each order has reserved its stock, and nobody attempts to open its payment by a local activity any more."""

    async def read() -> tuple[int, int]:
        reserved = sum("reserve" in shop.steps_of(run) for run in runs)
        return reserved, attempts.asking

    await until(read, lambda found: found == (len(runs), 0))
    assert attempts.deferred >= len(runs) - 2 * shop.settings.local_payment_slots
