"""The saga of an order: from accepted to PAID, FAILED or CANCELLED."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from temporalio import workflow
from temporalio.common import VersioningBehavior

from domain.orders import SOLD_STATUSES, CancelledBy, OrderStatus, Reason
from domain.refusals import Refusal
from domain.saga import (
    CANCEL_UPDATE,
    ORDER_SAGA,
    PAYMENT_CHANGED_SIGNAL,
    CancelRequest,
    Marked,
    MarkPendingRequest,
    MarkRequest,
    OpenPaymentRequest,
    OrderInput,
    OrderResult,
    PaymentState,
    Quote,
    QuoteRequest,
    ReserveRequest,
)
from workflows import web_ui
from workflows.activity_calls import Request, Response, Step
from workflows.order_ending import ENDS_THE_ORDER, Ending, OrderEnds
from workflows.parkable_workflow import ParkableWorkflow
from workflows.payment_decision import PaymentTerms
from workflows.payment_wait import HistoryFull, PaymentWait
from workflows.shield import run_shielded
from workflows.step_runner import SHIELDED, STOPPABLE, StepRefused, StepStopped
from workflows.steps import OrderSteps, PaymentSteps, PricingSteps, StockSteps

FORWARD: Final = STOPPABLE.answering(ENDS_THE_ORDER)
COMMIT: Final = SHIELDED.answering({Refusal.RESERVATION_RELEASED.value, Refusal.RESERVATION_NOT_FOUND.value})
"""Past the pivot, where only lost stock keeps the order from PAID."""
KNOWN_EVENTS: Final = 500
"""The last so many events of the payment wake the saga once each; a repeat of one before them does so again."""
UNDO: Final[Sequence[tuple[Step[str, None], str]]] = (
    (PaymentSteps.void_payment, "cancel or refund the payment"),
    (StockSteps.release, "release the stock"),
)
"""Undoes every step of the saga, the last one first; each leaves a tombstone where there is nothing to undo."""


# It ends within its payment window and what is undone after it: it stays with the release that it began with.
@workflow.defn(name=ORDER_SAGA, versioning_behavior=VersioningBehavior.PINNED)
class OrderSaga(ParkableWorkflow):
    """One order. Money is taken and stock is sold, or neither; the order's status says which."""

    @workflow.init
    def __init__(self, order: OrderInput) -> None:
        super().__init__(
            order.order_id,
            attention_after=order.policy.attention_after_seconds,
            is_cancelled=lambda: self._cancelled_by is not None,
        )
        self._order = order
        self._cancelled_by: CancelledBy | None = None
        self._event_ids: deque[str] = deque(maxlen=KNOWN_EVENTS)
        self._result: OrderResult | None = None

    @workflow.signal(name=PAYMENT_CHANGED_SIGNAL)
    def payment_changed(self, event_id: str) -> None:
        """A wake-up: the payment service stored a signed event. What it means is read there."""
        if event_id not in self._event_ids:
            self._event_ids.append(event_id)
            self._changes.notify()

    @workflow.update(name=CANCEL_UPDATE)
    async def cancel(self, request: CancelRequest) -> OrderResult:
        """Request the order's cancellation; answers with how it ended, which is PAID if the money was faster."""
        self._request_cancellation(request.cancelled_by)
        await workflow.wait_condition(lambda: self._result is not None)
        assert self._result is not None  # noqa: S101  # waited for
        return self._result

    @workflow.run
    async def run(self, order: OrderInput) -> OrderResult:
        """Run the process in a task that no cancellation reaches: it becomes a request that the process looks at."""
        result, was_cancelled = await run_shielded(
            self._process(), on_cancel=lambda: self._request_cancellation(CancelledBy.OPERATOR)
        )
        self._result = result
        await workflow.wait_condition(workflow.all_handlers_finished)
        if was_cancelled and result.status is OrderStatus.CANCELLED:
            raise asyncio.CancelledError
        return result

    def _request_cancellation(self, cancelled_by: CancelledBy) -> None:
        """Let the order end CANCELLED if nothing else ends it first; the first request stands."""
        self._cancelled_by = self._cancelled_by or cancelled_by

    async def _process(self) -> OrderResult:
        """The steps of the saga, in their order.

        When it ends early, every step is undone, also those that it never came to: local steps of a task that was lost
        with its worker took effect, and the task that runs in its place may end the order before it gets as far.
        """
        web_ui.show_received(len(self._order.lines))
        try:
            await self._check_acceptance()
            quote = await self._resume() if self._order.is_repair else None
            quote = quote or await self._quote()
            await self._reserve()
            payment = await self._open_payment(quote)
            deadline = await self._mark_pending(quote, payment)
            await self._await_payment(quote, payment, deadline)
            await self._commit()
            return await self._mark(OrderStatus.PAID, None)
        except OrderEnds as order_ends:
            end = order_ends.ending
            stored = await self._read_order()
            if stored.status in SOLD_STATUSES:  # its workflow was reset, and takes another course this time
                return self._close(stored)
            web_ui.show_undoing(end)
            for step, summary in UNDO:
                await self._undo(step, summary=summary)
            return await self._mark(end.status, end.reason)

    async def _check_acceptance(self) -> None:
        """End an order that waited for too long, unless an earlier run brought it further than RECEIVED.

        Two clocks are asked for what each knows alone: the order service's, how long Temporal did not take the order;
        Temporal's, how long no worker did. So it does not matter how far they are apart.
        """
        limit = self._order.policy.acceptance_limit_seconds
        waited = workflow.now() - workflow.info().workflow_start_time + timedelta(seconds=self._order.waited_seconds)
        if limit is None or waited.total_seconds() <= limit:
            return
        if (await self._read_order()).status is OrderStatus.RECEIVED:
            raise OrderEnds(Ending.failed(Reason.ACCEPTED_TOO_LATE))

    async def _resume(self) -> Quote | None:
        """Find out how far an earlier run came; the price that the order is sold at, if it came to one.

        An order that is closed only has its end repeated, which changes nothing that was done: PAID, refunded since or
        not, goes through every step again, anything else through every undo.
        """
        resumed = await self._runner.run(
            OrderSteps.resume_order, self._order.order_id, summary="read how far an earlier run came", policy=SHIELDED
        )
        if resumed.order.status in (OrderStatus.FAILED, OrderStatus.CANCELLED):
            raise OrderEnds(Ending(resumed.order.status, resumed.order.reason))
        return resumed.quote

    async def _quote(self) -> Quote:
        request = QuoteRequest(
            lines=self._order.lines,
            currency=self._order.currency,
            expected_total=self._order.expected_total,
            adjustment=self._order.adjustment,
        )
        return await self._forward(PricingSteps.quote, request, summary="price every line")

    async def _reserve(self) -> None:
        request = ReserveRequest(order_id=self._order.order_id, lines=self._order.lines)
        await self._forward(StockSteps.reserve, request, summary="reserve all lines")

    async def _open_payment(self, quote: Quote) -> PaymentState:
        request = OpenPaymentRequest(
            order_id=self._order.order_id,
            user_id=self._order.user_id,
            amount=quote.total,
            currency=quote.currency,
            payment_method=self._order.payment_method,
        )
        return await self._forward(PaymentSteps.open_payment, request, summary="open the payment")

    async def _mark_pending(self, quote: Quote, payment: PaymentState) -> datetime:
        """Mark the order PENDING and answer with its payment deadline, which the order service keeps.

        One that is PAID, or was and is refunded, because an operator reset its workflow, goes the same way again: it
        only repeats what is done.
        """
        request = MarkPendingRequest(
            order_id=self._order.order_id,
            cause_id="order_saga:pending",
            lines=quote.lines,
            total=quote.total,
            payment_id=payment.payment_id,
            payment_deadline=workflow.now() + timedelta(seconds=self._order.payment_window_seconds),
        )
        marked = await self._forward(OrderSteps.mark_pending, request, summary="mark PENDING")
        if marked.status not in (OrderStatus.PENDING, *SOLD_STATUSES) or marked.payment_deadline is None:
            raise OrderEnds(Ending(marked.status, marked.reason))
        web_ui.show_pending(quote)
        return marked.payment_deadline

    async def _await_payment(self, quote: Quote, payment: PaymentState, deadline: datetime) -> None:
        """Return once the right money is in: the pivot. End the order when it cannot come any more."""
        terms = PaymentTerms(
            amount=quote.total,
            currency=quote.currency,
            deadline=deadline,
            max_attempts=self._order.policy.payment_attempts,
            event_timeout=timedelta(seconds=self._order.policy.payment_event_patience_seconds),
        )
        try:
            await self._payment_wait(terms).run(payment)
        except HistoryFull:
            workflow.continue_as_new(replace(self._order, is_repair=True))

    def _payment_wait(self, terms: PaymentTerms) -> PaymentWait:
        return PaymentWait(
            self._runner,
            self._changes,
            order_id=self._order.order_id,
            terms=terms,
            cancelled_by=lambda: self._cancelled_by,
        )

    async def _commit(self) -> None:
        """Sell the reserved units."""
        try:
            await self._runner.run(
                StockSteps.commit, self._order.order_id, summary="commit the reservation", policy=COMMIT
            )
        except StepRefused:
            raise OrderEnds(Ending.failed(Reason.STOCK_LOST)) from None

    async def _read_order(self) -> Marked:
        return await self._runner.run(
            OrderSteps.read_order, self._order.order_id, summary="read where the order stands", policy=SHIELDED
        )

    async def _undo(self, step: Step[str, None], *, summary: str) -> None:
        await self._runner.run_or_resolve(step, self._order.order_id, summary=summary)

    async def _mark(self, status: OrderStatus, reason: str | None) -> OrderResult:
        """Close the order, or follow whoever closed it before: one that is refunded meanwhile was PAID."""
        request = MarkRequest(order_id=self._order.order_id, cause_id="order_saga:closed", status=status, reason=reason)
        marked = await self._runner.run(OrderSteps.mark, request, summary=f"mark {status}", policy=SHIELDED)
        if status is OrderStatus.PAID and marked.status not in SOLD_STATUSES:
            raise OrderEnds(Ending(marked.status, marked.reason))
        return self._close(marked)

    def _close(self, marked: Marked) -> OrderResult:
        web_ui.show_closed(marked.status, marked.reason)
        return OrderResult(order_id=self._order.order_id, status=marked.status, reason=marked.reason)

    async def _forward(self, step: Step[Request, Response], request: Request, *, summary: str) -> Response:
        """Run a step on the way to PAID; a cancellation request and some refusals end the order."""
        try:
            return await self._runner.run(step, request, summary=summary, policy=FORWARD)
        except StepRefused as refused:
            raise OrderEnds(Ending.failed(ENDS_THE_ORDER[refused.refusal])) from None
        except StepStopped:
            raise OrderEnds(Ending.cancelled(self._cancelled_by)) from None
