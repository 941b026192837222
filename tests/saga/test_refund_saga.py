"""Everything that can become of a refund and of a dispute, in the time-skipping environment, on real services."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle
from temporalio.testing import WorkflowEnvironment

from domain.ids import new_id
from domain.orders import OrderLine
from domain.refunds import RefundOrigin, RefundStatus
from domain.saga import OrderResult, dispute_workflow_id, order_workflow_id, refund_workflow_id
from runtime.database import Database
from services.payment.payments.model import Payment, Refund
from services.payment.refunds.errors import PaymentDisputed
from services.payment.refunds.model import NewRefund, RequestedRefund
from tests.support.rows import fetch_rows
from tests.support.saga_shop import Shop, open_shop

Run = WorkflowHandle[Any, OrderResult]

VISA = "pm_card_visa"
PENDING = "pm_card_pendingRefund"
LATER_FAILS = "pm_card_refundFail"
DISPUTED = "pm_card_createDispute"


@pytest_asyncio.fixture
async def disposable_shop(
    databases: Mapping[str, str], disposable_env: WorkflowEnvironment, tmp_path: Path
) -> AsyncIterator[Shop]:
    """A shop whose server is thrown away: after a termination it skips no time any more, for nobody."""
    async with open_shop(databases, disposable_env, data=tmp_path) as shop:
        yield shop


def id_of(run: Run) -> str:
    return run.id.removeprefix(order_workflow_id(""))


async def paid(shop: Shop, product: str, pieces: int = 3, *, card: str = VISA) -> Run:
    """An order that is PAID."""
    run = await shop.place((product, pieces), payment_method=card, wait=10)
    await shop.deliver_events()
    assert (await shop.result(run)).status == "PAID"
    return run


async def ask(
    shop: Shop, run: Run, amount: int | None = None, *restock: OrderLine, wait: float = 10
) -> RequestedRefund:
    """Ask for a refund and wait for what comes of it."""
    order = await shop.order(run)
    new = NewRefund(
        order_id=order.id,
        amount=amount,
        restock=restock,
        ordered=tuple(OrderLine(item.product_id, item.quantity) for item in order.items),
        requested_by=new_id(),
        note="",
    )
    return await shop.refunds.request(new, idempotency_key=new_id(), wait=wait)


async def payment_of(shop: Shop, run: Run) -> Payment:
    return await shop.payments.check(id_of(run), refresh=False)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Return once it holds: what brings it about is under way, and tells nobody."""
    async with asyncio.timeout(20):
        while True:
            if await holds():
                return
            await asyncio.sleep(0.05)


async def refund_becomes(shop: Shop, run: Run, *statuses: RefundStatus) -> list[Refund]:
    """The order's refunds once they stand there, in any order, and their sagas have nothing more to do for any."""

    async def holds() -> bool:
        refunds = (await payment_of(shop, run)).refunds
        return sorted(refund.status for refund in refunds) == sorted(statuses) and all(
            refund.status.has_failed or not refund.saga_open for refund in refunds
        )

    await until(holds)
    return list((await payment_of(shop, run)).refunds)


async def attention(shop: Shop, run: Run) -> set[str]:
    """The steps that want attention."""
    database = Database(shop.databases["order"], pool_size=1)
    found = await fetch_rows(
        database,
        "SELECT step FROM attention WHERE order_id = %(id)s AND cleared_at IS NULL",
        id=id_of(run),
    )
    await database.close()
    return {step.partition(" ")[0] for (step,) in found}


async def wants(shop: Shop, run: Run, *steps: str) -> None:
    """Return once these want attention, and no others."""

    async def holds() -> bool:
        return await attention(shop, run) == set(steps)

    await until(holds)


async def becomes(shop: Shop, run: Run, status: str) -> None:
    """Return once the order is there."""

    async def holds() -> bool:
        return (await shop.order(run)).status == status

    await until(holds)


def saga_of(shop: Shop, refund: Refund) -> WorkflowHandle[Any, Any]:
    return shop.env.client.get_workflow_handle(refund_workflow_id(refund.id))


async def history(shop: Shop, run: Run) -> list[str]:
    return [row.to_status for row in (await shop.order(run)).transitions]


async def test_all_of_an_order_is_refunded_and_put_back(shop: Shop) -> None:
    product = await shop.product(pieces=10)
    run = await paid(shop, product)

    requested = await ask(shop, run, None, OrderLine(product, 3))

    assert (requested.refund.status, requested.refund.amount, requested.accepted_only) == ("SUCCEEDED", 3_000, False)
    assert await history(shop, run) == ["RECEIVED", "PENDING", "PAID", "REFUNDED"]
    assert (await shop.stock(product)).on_hand == 10
    assert await shop.disagreements(run) == []


async def test_refunds_in_parallel_add_up_and_never_exceed_the_payment(shop: Shop) -> None:
    product = await shop.product(pieces=10)
    run = await paid(shop, product)

    answers = await asyncio.gather(*(ask(shop, run, 700) for _ in range(6)), return_exceptions=True)

    succeeded = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert [answer.refund.status for answer in succeeded] == ["SUCCEEDED"] * 4
    assert (await payment_of(shop, run)).amount_refunded == 2_800
    assert await history(shop, run) == ["RECEIVED", "PENDING", "PAID", *["PARTIALLY_REFUNDED"] * 4]
    assert await shop.disagreements(run) == []


async def test_a_refund_that_takes_days_moves_the_order_once_it_has_succeeded(shop: Shop) -> None:
    run = await paid(shop, await shop.product(), card=PENDING)

    requested = await ask(shop, run, wait=0.5)
    assert (requested.refund.status, requested.accepted_only) == ("PENDING", True)
    assert (await shop.order(run)).status == "PAID"

    await shop.switch(f"refunds/{requested.refund.stripe_refund_id}", status="succeeded")
    await shop.deliver_events()

    await refund_becomes(shop, run, RefundStatus.SUCCEEDED)
    assert (await shop.order(run)).status == "REFUNDED"
    assert await shop.disagreements(run) == []


async def test_a_refund_whose_event_is_lost_is_looked_at_every_hour(shop: Shop) -> None:
    run = await paid(shop, await shop.product(), card=PENDING)
    requested = await ask(shop, run, wait=0.5)

    await shop.switch(f"refunds/{requested.refund.stripe_refund_id}", status="succeeded")
    await shop.env.sleep(3_700)

    await refund_becomes(shop, run, RefundStatus.SUCCEEDED)
    await becomes(shop, run, "REFUNDED")
    await shop.deliver_events()
    assert await shop.disagreements(run) == []


async def test_a_refund_that_comes_back_moves_the_order_back_and_is_tried_anew(shop: Shop) -> None:
    run = await paid(shop, await shop.product())
    requested = await ask(shop, run, 1_000)
    assert (await shop.order(run)).status == "PARTIALLY_REFUNDED"

    await shop.switch(f"refunds/{requested.refund.stripe_refund_id}", status="failed", failure_reason="declined")
    await shop.deliver_events()
    await wants(shop, run, "carry_out_refund")
    assert (await shop.order(run)).status == "PAID"

    await saga_of(shop, requested.refund).execute_update("retry")
    refunds = await refund_becomes(shop, run, RefundStatus.REPLACED, RefundStatus.SUCCEEDED)

    assert [refund.amount for refund in refunds] == [1_000, 1_000]
    await becomes(shop, run, "PARTIALLY_REFUNDED")
    await wants(shop, run)
    there_and_back = ["PARTIALLY_REFUNDED", "PAID", "PARTIALLY_REFUNDED"]
    assert await history(shop, run) == ["RECEIVED", "PENDING", "PAID", *there_and_back]
    assert await shop.disagreements(run) == []


async def test_a_refund_that_fails_waits_for_a_person_who_says_that_it_is_dealt_with(shop: Shop) -> None:
    run = await paid(shop, await shop.product(), card=LATER_FAILS)
    requested = await ask(shop, run, wait=0.5)
    if requested.refund.status is not RefundStatus.FAILED:
        await shop.switch(f"refunds/{requested.refund.stripe_refund_id}", status="failed")
        await shop.deliver_events()
    await wants(shop, run, "carry_out_refund")

    assert await saga_of(shop, requested.refund).execute_update("resolve") == "carry_out_refund"

    await refund_becomes(shop, run, RefundStatus.RESOLVED)
    await wants(shop, run)
    assert (await shop.order(run)).status == "PAID"
    assert await shop.disagreements(run) == []


async def test_a_refund_made_in_the_dashboard_moves_the_order_too(shop: Shop) -> None:
    run = await paid(shop, await shop.product())
    intent_id = (await payment_of(shop, run)).intent_id or ""

    await shop.stripe.v1.refunds.create_async({"payment_intent": intent_id, "amount": 400})
    await shop.deliver_events()

    [refund] = await refund_becomes(shop, run, RefundStatus.SUCCEEDED)
    assert refund.origin is RefundOrigin.STRIPE
    await becomes(shop, run, "PARTIALLY_REFUNDED")
    assert (await ask(shop, run)).refund.amount == 2_600
    assert (await shop.order(run)).status == "REFUNDED"
    assert await shop.disagreements(run) == []


async def test_a_refund_that_stripe_refuses_because_the_dashboard_was_faster_waits_for_a_person(shop: Shop) -> None:
    run = await paid(shop, await shop.product())
    intent_id = (await payment_of(shop, run)).intent_id or ""
    called = asyncio.Event()

    async def refund_by_hand() -> None:
        await shop.stripe.v1.refunds.create_async({"payment_intent": intent_id, "amount": 2_000})
        called.set()

    shop.hooks.before["carry_out_refund"] = refund_by_hand
    requested = await ask(shop, run, 2_000)
    assert called.is_set()

    assert requested.refund.status is RefundStatus.FAILED
    await wants(shop, run, "carry_out_refund")
    await saga_of(shop, requested.refund).execute_update("resolve")
    await refund_becomes(shop, run, RefundStatus.RESOLVED, RefundStatus.SUCCEEDED)
    assert (await payment_of(shop, run)).amount_refunded == 2_000
    await becomes(shop, run, "PARTIALLY_REFUNDED")
    assert await shop.disagreements(run) == []


@pytest.mark.parametrize("step", ["carry_out_refund", "mark_refunded", "restock", "close_refund"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_no_lost_answer_gives_money_or_pieces_back_twice(shop: Shop, step: str, when: str) -> None:
    product = await shop.product(pieces=10)
    run = await paid(shop, product)

    async def break_off() -> None:
        raise ConnectionError("away")

    getattr(shop.hooks, when)[step] = break_off
    await ask(shop, run, 1_000, OrderLine(product, 1))

    await refund_becomes(shop, run, RefundStatus.SUCCEEDED)
    assert len((await shop.stripe.v1.refunds.list_async({"limit": 100})).data) >= 1
    assert (await shop.stock(product)).on_hand == 8
    assert (await shop.order(run)).refunded == 1_000
    assert await shop.disagreements(run) == []


async def test_a_refund_goes_on_when_somebody_cancels_its_workflow(shop: Shop) -> None:
    run = await paid(shop, await shop.product(), card=PENDING)
    requested = await ask(shop, run, wait=0.5)

    await saga_of(shop, requested.refund).cancel()
    await shop.switch(f"refunds/{requested.refund.stripe_refund_id}", status="succeeded")
    await shop.deliver_events()

    await refund_becomes(shop, run, RefundStatus.SUCCEEDED)
    assert (await shop.order(run)).status == "REFUNDED"


async def test_pieces_that_cannot_be_put_back_wait_for_a_person_and_the_money_does_not(shop: Shop) -> None:
    product = await shop.product(pieces=10)
    run = await paid(shop, product, 1)
    await shop.inventory.restock(restock_id=new_id(), order_id=id_of(run), lines=[OrderLine(product, 1)])

    requested = await ask(shop, run, None, OrderLine(product, 1), wait=0.5)

    assert requested.refund.status is RefundStatus.SUCCEEDED
    await wants(shop, run, "restock")
    assert (await shop.order(run)).status == "REFUNDED"
    assert await saga_of(shop, requested.refund).execute_update("resolve") == "restock"
    await refund_becomes(shop, run, RefundStatus.SUCCEEDED)
    await wants(shop, run)
    assert await shop.disagreements(run) == []


async def test_a_dispute_holds_attention_and_every_refund_until_it_is_decided(shop: Shop) -> None:
    run = await paid(shop, await shop.product(), card=DISPUTED)
    await shop.deliver_events()
    await wants(shop, run, "dispute")
    with pytest.raises(PaymentDisputed):
        await ask(shop, run)

    [dispute] = (await payment_of(shop, run)).disputes
    assert (dispute.status, dispute.withdrawn) == ("NEEDS_RESPONSE", 3_000)
    await shop.switch(f"disputes/{dispute.id}", status="won")
    await shop.deliver_events()
    await wants(shop, run)

    case = shop.env.client.get_workflow_handle(dispute_workflow_id(dispute.id))
    assert await case.result() == "WON"
    assert (await ask(shop, run)).refund.status is RefundStatus.SUCCEEDED
    assert await shop.disagreements(run) == []


@pytest.mark.parametrize("verdict", ["won", "lost"])
async def test_a_refund_that_is_on_its_way_waits_for_a_dispute(shop: Shop, verdict: str) -> None:
    run = await paid(shop, await shop.product())
    intent = await shop.stripe.v1.payment_intents.retrieve_async((await payment_of(shop, run)).intent_id or "")

    async def dispute() -> None:
        await shop.switch(f"charges/{intent.latest_charge}/dispute", reason="fraudulent")

    shop.hooks.before["carry_out_refund"] = dispute
    requested = await ask(shop, run, wait=0.5)
    assert requested.refund.status is RefundStatus.REQUESTED
    await wants(shop, run, "dispute", "carry_out_refund")

    [found] = (await payment_of(shop, run)).disputes
    await shop.switch(f"disputes/{found.id}", status=verdict)
    await shop.deliver_events()

    if verdict == "won":
        await refund_becomes(shop, run, RefundStatus.SUCCEEDED)
        await becomes(shop, run, "REFUNDED")
    else:
        await refund_becomes(shop, run, RefundStatus.FAILED)
        await wants(shop, run, "carry_out_refund")
        await saga_of(shop, requested.refund).execute_update("resolve")
        await refund_becomes(shop, run, RefundStatus.RESOLVED)
        assert (await shop.order(run)).status == "PAID"
    await wants(shop, run)
    assert await shop.disagreements(run) == []


async def test_a_refund_whose_workflow_was_terminated_goes_on(disposable_shop: Shop) -> None:
    shop = disposable_shop
    run = await paid(shop, await shop.product(), card=PENDING)
    requested = await ask(shop, run, wait=0.5)
    await saga_of(shop, requested.refund).terminate()
    await shop.switch(f"refunds/{requested.refund.stripe_refund_id}", status="succeeded")

    async def is_completed() -> bool:
        await shop.payment.refund_follow_ups.process_due()  # looks at a young refund after some seconds
        return (await saga_of(shop, requested.refund).describe()).status is WorkflowExecutionStatus.COMPLETED

    await until(is_completed)
    await refund_becomes(shop, run, RefundStatus.SUCCEEDED)
    assert (await shop.order(run)).status == "REFUNDED"
