"""Whatever breaks at random between us and Stripe: one intent per order, paid once or not at all, refunded once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import httpx
import pytest
import stripe

from domain.payments import PaymentStatus
from runtime.refusal import Unavailable
from services.payment.payments.errors import PaymentVoided
from services.payment.payments.model import NewPayment
from tests.support.payment_harness import PaymentHarness, new_payment, run_sagas

ORDERS = 8
FAULTS = {"error_500_before": 0.1, "error_500_after": 0.1, "lose_response": 0.1, "delay_ms": (0, 15)}
CARDS = [None, "pm_card_visa", "pm_card_chargeDeclined", "pm_card_authenticationRequired"]


async def persistently(call: Callable[[], Awaitable[object]]) -> None:
    """Repeat as the saga does, until there is an answer."""
    while True:
        try:
            await call()
        except Unavailable:
            continue
        except PaymentVoided:
            pass
        return


async def one_order(harness: PaymentHarness, new: NewPayment, chance: random.Random) -> None:
    """The saga's calls by several processes, and a customer who pays meanwhile."""
    processes = [await harness.another_process() for _ in range(3)]
    services = [process.payments for process in processes]
    opening = [asyncio.create_task(persistently(partial(service.open, new))) for service in services[:2]]
    if chance.random() < 0.5:
        await opening[0]
        payment = await harness.service.check(new.order_id, refresh=False)
        if payment.intent_id is not None:
            opening.append(asyncio.create_task(pay(harness, payment.order_id)))
    match chance.randrange(3):
        case 0:
            await persistently(lambda: services[2].void(new.order_id))
            sagas = [persistently(partial(run_sagas, process, new.order_id)) for process in processes]
            await asyncio.gather(*sagas)
        case 1:
            await opening[0]
            await persistently(lambda: services[2].close(new.order_id))
    await asyncio.gather(*opening)


async def pay(harness: PaymentHarness, order_id: str) -> None:
    # What breaks here breaks in the customer's browser; they do not try again.
    with suppress(httpx.HTTPError, stripe.StripeError):
        await harness.customer_pays(await harness.service.check(order_id, refresh=False), "pm_card_visa")


@pytest.mark.parametrize("seed", range(4))
async def test_stripe_and_our_books_agree_and_nothing_is_taken_or_given_back_twice(
    harness: PaymentHarness, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311  # repeatable
    new_payments = [new_payment(payment_method=chance.choice(CARDS)) for _ in range(ORDERS)]
    writes = ("payment_intents.create", "payment_intents.confirm", "payment_intents.cancel", "refunds.create")
    harness.break_api(*writes, "payment_intents.retrieve", "charges.list", "refunds.list", **FAULTS)

    await asyncio.gather(*(one_order(harness, new, chance) for new in new_payments))
    harness.fix_api()
    await harness.hear()
    for new in new_payments:
        await run_sagas(harness.components, new.order_id)

    for new in new_payments:
        payment = await harness.service.check(new.order_id, refresh=True)
        if payment.user_id is None:
            assert await harness.intents(new.order_id) == []
            continue
        [intent] = await harness.intents(new.order_id)
        charges = await harness.charges(payment)
        refunds = await harness.refunds(payment)
        paid = [charge for charge in charges if charge.status == "succeeded"]
        assert intent.id == payment.intent_id
        assert (len(paid) == 1) is (payment.status is PaymentStatus.SUCCEEDED) is (intent.status == "succeeded")
        assert payment.amount_received == intent.amount_received
        assert payment.amount_refunded == sum(refund.amount for refund in refunds)
        assert len(refunds) == (1 if payment.voided and paid else 0)
        assert payment.failed_attempts == len(charges) - len(paid)
        if payment.closing:
            assert payment.status in (PaymentStatus.SUCCEEDED, PaymentStatus.CANCELLED)
        seqs = [seq for _, seq, _ in await harness.published(new.order_id)]
        assert seqs == list(range(1, payment.seq + 1))
    assert set((await harness.event_statuses()).values()) <= {"APPLIED", "IGNORED"}
