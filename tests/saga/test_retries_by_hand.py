"""Whoever sends `retry` or `resolve` is answered with what came of it, spared the back-off, and named."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio import activity
from temporalio.api.enums.v1 import EventType
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import WorkflowFailureError, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from domain.saga import OrderResult
from domain.stuck_steps import SERVICE_UNAVAILABLE, Decision, StepAnswer, StepOutcome
from tests.support.saga_refunds import attention_notes
from tests.support.saga_shop import Shop
from workflows.order_saga import OrderSaga

Run = WorkflowHandle[Any, OrderResult]

VISA = "pm_card_visa"
AWAY = "inventory service UNAVAILABLE: no connection: Connection refused"
ANNA = Decision(actor="anna", note="the database is back")


class Outage:
    """A step whose service is away, or refuses, until it is mended."""

    def __init__(self, shop: Shop, step: str, error: ApplicationError) -> None:
        self._shop = shop
        self._step = step
        self._error = error
        self._called = asyncio.Event()
        self._works_locally = False
        shop.hooks.before[step] = self._fail

    async def _fail(self) -> None:
        if self._works_locally and activity.info().is_local:
            return
        self._shop.hooks.before[self._step] = self._fail
        self._called.set()
        raise self._error

    async def seen(self) -> None:
        """Return once the step was called."""
        await self._called.wait()

    def mend_for_retries(self) -> None:
        """From here on it works when it is attempted by hand; by itself it would be tried again too late."""
        self._works_locally = True

    def mend(self) -> None:
        """From here on it works."""
        self._shop.hooks.before.pop(self._step, None)


def away() -> ApplicationError:
    return ApplicationError(AWAY, type=SERVICE_UNAVAILABLE)


def refused() -> ApplicationError:
    return ApplicationError("other lines are reserved", type="RESERVATION_DIFFERS", non_retryable=True)


async def retry(run: Run, decision: Decision | None = None) -> StepAnswer:
    """Send `retry`, as soon as the step is known to be stuck."""
    async with asyncio.timeout(60):
        while True:
            try:
                if decision is None:
                    unnamed: StepAnswer = await run.execute_update("retry", result_type=StepAnswer)
                    return unnamed
                return await run.execute_update(OrderSaga.retry, decision)
            except WorkflowUpdateFailedError:  # not yet
                await asyncio.sleep(0.05)


async def current_details(run: Run) -> str:
    """What the Web UI shows of the workflow."""
    shown: WorkflowMetadata = await run.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    return shown.current_details


async def count_activities(run: Run) -> int:
    """Steps that were scheduled as normal activities, which the Web UI lists."""
    history = await run.fetch_history()
    return sum(event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED for event in history.events)


async def test_a_retry_of_a_failing_step_answers_that_it_failed_again_and_goes_on_trying(shop: Shop) -> None:
    product = await shop.product(units=5)
    outage = Outage(shop, "reserve", away())
    run = await shop.place((product, 2), payment_method=VISA)

    answer = await retry(run, ANNA)
    again = await retry(run)
    outage.mend()

    failed = StepAnswer(step="reserve", outcome=StepOutcome.FAILED, message=AWAY)
    assert [answer, again] == [failed, failed]
    assert (await shop.result(run)).status == "PAID"
    assert await count_activities(run) == 3
    assert await shop.disagreements(run) == []


async def test_a_retry_of_a_failing_step_does_not_wait_for_its_next_attempt(shop: Shop) -> None:
    product = await shop.product(units=5)
    outage = Outage(shop, "reserve", away())
    run = await shop.place((product, 2))
    await retry(run)
    outage.mend_for_retries()

    answer = await retry(run, ANNA)

    assert (answer.step, answer.outcome) == ("reserve", "DONE")
    assert (await shop.stock(product)).reserved == 2
    await run.cancel()


@pytest.mark.parametrize("decision", [ANNA, None])
async def test_a_retry_of_a_parked_step_answers_with_the_refusal_and_then_that_it_is_done(
    shop: Shop, decision: Decision | None
) -> None:
    product = await shop.product(units=5)
    outage = Outage(shop, "reserve", refused())
    run = await shop.place((product, 2), payment_method=VISA)

    again = await retry(run, decision)
    details = await current_details(run)
    outage.mend()
    done = await retry(run, decision)

    assert again == StepAnswer(
        step="reserve",
        outcome=StepOutcome.REFUSED,
        refusal="RESERVATION_DIFFERS",
        message="other lines are reserved",
    )
    assert "**Needs attention** at step `reserve`: refused: RESERVATION_DIFFERS: other lines are reserved" in details
    assert f"`ordersaga retry {run.id.removeprefix('order-')}` attempts it at once" in details
    by = "by **anna** (the database is back)" if decision else "by nobody named"
    assert f"{by}: REFUSED: RESERVATION_DIFFERS: other lines are reserved" in details
    assert (done.step, done.outcome) == ("reserve", "DONE")
    assert (await shop.result(run)).status == "PAID"
    assert await shop.disagreements(run) == []


async def test_attention_that_is_still_being_raised_follows_the_cause_of_the_next_refusal(shop: Shop) -> None:
    product = await shop.product(units=5)
    first = Outage(shop, "reserve", refused())
    raising, other_cause = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        raising.set()
        await other_cause.wait()

    shop.hooks.before["attention"] = hold
    run = await shop.place((product, 2), payment_method=VISA)
    await raising.wait()
    first.mend()
    second = Outage(shop, "reserve", ApplicationError("it is gone", type="INVALID_ARGUMENT", non_retryable=True))
    answer = await retry(run)
    other_cause.set()

    await attention_says(shop, run, "refused: INVALID_ARGUMENT: it is gone")
    assert answer.refusal == "INVALID_ARGUMENT"
    second.mend()
    assert (await retry(run)).outcome is StepOutcome.DONE
    assert (await shop.result(run)).status == "PAID"
    assert await attention_notes(shop, run) == []


async def test_a_newer_cause_that_was_not_raised_yet_is_not_raised_after_the_step_got_through(shop: Shop) -> None:
    product = await shop.product(units=5)
    outage = Outage(shop, "reserve", refused())
    raising, mended = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        raising.set()
        await mended.wait()

    shop.hooks.before["attention"] = hold
    run = await shop.place((product, 2), payment_method=VISA)
    await raising.wait()
    again = await retry(run)
    outage.mend()
    done = await retry(run)
    mended.set()

    assert (again.outcome, done.outcome) == (StepOutcome.REFUSED, StepOutcome.DONE)
    assert (await shop.result(run)).status == "PAID"
    assert await attention_notes(shop, run) == []
    assert [step for workflow_id, step in shop.hooks.calls if workflow_id == run.id].count("attention") == 2


async def attention_says(shop: Shop, run: Run, note: str) -> None:
    """Return once people are told just that of the order."""
    async with asyncio.timeout(60):
        while await attention_notes(shop, run) != [note]:  # noqa: ASYNC110 - the workflow brings it about
            await asyncio.sleep(0.05)


async def test_a_retry_of_a_parked_step_whose_service_is_away_by_then_is_tried_again_by_itself(shop: Shop) -> None:
    product = await shop.product(units=5)
    parked = Outage(shop, "reserve", refused())
    run = await shop.place((product, 2), payment_method=VISA)
    await parked.seen()
    outage = Outage(shop, "reserve", away())

    answer = await retry(run, ANNA)
    outage.mend()

    assert (answer.outcome, answer.message) == ("FAILED", AWAY)
    assert (await shop.result(run)).status == "PAID"
    assert await shop.disagreements(run) == []


async def test_two_who_retry_at_once_get_one_answer_or_one_is_told_that_there_is_nothing_to_retry(shop: Shop) -> None:
    product = await shop.product(units=5)
    outage = Outage(shop, "reserve", refused())
    run = await shop.place((product, 2), payment_method=VISA)
    await retry(run)
    outage.mend()

    answers = await asyncio.gather(
        *(run.execute_update(OrderSaga.retry, Decision(actor=name)) for name in ("anna", "ben")), return_exceptions=True
    )

    answered = [answer for answer in answers if isinstance(answer, StepAnswer)]
    assert {answer.outcome for answer in answered} == {StepOutcome.DONE}
    assert all("nothing to retry" in str(answer.__cause__) for answer in answers if isinstance(answer, Exception))
    assert (await shop.result(run)).status == "PAID"
    assert shop.steps_of(run).count("reserve") == 1


async def test_a_cancellation_ends_a_failing_step_and_nobody_waits_for_a_retry_of_it(shop: Shop) -> None:
    product = await shop.product(units=5)
    outage = Outage(shop, "reserve", away())
    run = await shop.place((product, 2))
    await outage.seen()

    answer, _ = await asyncio.gather(retry(run, ANNA), run.cancel())
    with pytest.raises(WorkflowFailureError):
        await shop.result(run)

    assert answer.outcome in (StepOutcome.FAILED, StepOutcome.STOPPED)
    assert (await shop.order(run)).status == "CANCELLED"
    assert await shop.disagreements(run) == []


async def test_a_failing_step_cannot_be_resolved_by_hand(shop: Shop) -> None:
    product = await shop.product(units=5)
    outage = Outage(shop, "void_payment", away())
    run = await shop.place((product, 2), payment_method="pm_unknown")
    await retry(run)

    with pytest.raises(WorkflowUpdateFailedError) as rejected:
        await run.execute_update(OrderSaga.resolve, ANNA)
    outage.mend()

    assert "is not parked" in str(rejected.value.cause)
    assert (await shop.result(run)).reason == "PAYMENT_REJECTED"
