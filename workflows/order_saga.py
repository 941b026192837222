"""The saga of an order: from accepted to PAID, FAILED or CANCELLED."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from temporalio import workflow

from domain.orders import SOLD_STATUSES, CancelledBy, OrderStatus, Reason
from domain.payments import PaymentStatus
from domain.refusals import Refusal
from domain.saga import (
    CANCEL_UPDATE,
    ORDER_SAGA,
    PAYMENT_CHANGED_SIGNAL,
    CancelRequest,
    CheckPaymentRequest,
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
from workflows import story
from workflows.shield import run_shielded
from workflows.step_runner import OrderEnds, Request, Response, Step, StepRefused, StepRunner, Verdict
from workflows.steps import OrderSteps, PaymentSteps, PricingSteps, StockSteps

ENDS_THE_ORDER: Final[Mapping[str, Reason]] = {
    **{reason.value: reason for reason in Reason},
    # Tombstones: the order was being undone when its worker died, before the history said why.
    Refusal.RESERVATION_RELEASED.value: Reason.STOCK_LOST,
    Refusal.PAYMENT_VOIDED.value: Reason.PAYMENT_CANCELLED,
    # Its payment was opened at another price, before the worker died or the workflow was ended from outside.
    Refusal.PAYMENT_DIFFERS.value: Reason.PRICE_CHANGED,
}
"""The refusals of forward steps that the saga has an answer to: the order FAILS for that reason."""
UNDO: Final[Sequence[tuple[Step[str, None], str]]] = (
    (PaymentSteps.void_payment, "cancel the payment or refund it"),
    (StockSteps.release, "give the stock back"),
)
"""Undoes every step of the saga, the last one first; each leaves a tombstone where there is nothing to undo."""
STOCK_IS_LOST: Final = frozenset({Refusal.RESERVATION_RELEASED.value, Refusal.RESERVATION_NOT_FOUND.value})
PROCESSING_REREAD: Final = timedelta(hours=1)
"""How often money on its way is looked at when no event comes."""
A_MOMENT: Final = timedelta(milliseconds=1)


@workflow.defn(name=ORDER_SAGA)
class OrderSaga:
    """One order. Money is taken and stock is sold, or neither; the order's status says which."""

    @workflow.init
    def __init__(self, order: OrderInput) -> None:
        self._order = order
        self._runner = StepRunner(order.order_id, attention_after=order.policy.attention_after_seconds)
        self._result: OrderResult | None = None
        self._event_ids: set[str] = set()
        self._has_news = False

    @workflow.signal(name=PAYMENT_CHANGED_SIGNAL)
    def payment_changed(self, event_id: str) -> None:
        """A wake-up: the payment service stored a signed event. What it means is asked there."""
        if event_id not in self._event_ids:
            self._event_ids.add(event_id)
            self._has_news = True

    @workflow.update(name=CANCEL_UPDATE)
    async def cancel(self, request: CancelRequest) -> OrderResult:
        """Wish the order cancelled; answers with how it ended, which is PAID if the money was faster."""
        self._runner.wish_cancelled(request.cancelled_by)
        await workflow.wait_condition(lambda: self._result is not None)
        assert self._result is not None  # noqa: S101  # waited for
        return self._result

    @workflow.update
    def retry(self) -> str:
        """Try the parked step again, after its cause was mended; answers with the step."""
        return self._runner.decide_parked(Verdict.RETRY)

    @retry.validator
    def _can_retry(self) -> None:
        self._runner.check_verdict(Verdict.RETRY)

    @workflow.update
    def resolve(self) -> str:
        """Go on without the parked compensation, because its work was done by hand; answers with the step."""
        return self._runner.decide_parked(Verdict.RESOLVE)

    @resolve.validator
    def _can_resolve(self) -> None:
        self._runner.check_verdict(Verdict.RESOLVE)

    @workflow.run
    async def run(self, order: OrderInput) -> OrderResult:
        """Run the process in a task that no cancellation reaches: a request to cancel is a wish that it looks at."""
        result, was_cancelled = await run_shielded(
            self._process(), on_cancel=lambda: self._runner.wish_cancelled(CancelledBy.OPERATOR)
        )
        self._result = result
        await workflow.wait_condition(workflow.all_handlers_finished)
        if was_cancelled and result.status is OrderStatus.CANCELLED:
            raise asyncio.CancelledError
        return result

    async def _process(self) -> OrderResult:
        """The steps of the saga, in their order.

        When it ends early, every step is undone, also those that it never came to: local steps of a task that was lost
        with its worker took effect, and the task that runs in its place may end the order before it gets as far.
        """
        story.tell_received(len(self._order.lines))
        try:
            quote = await self._resume() if self._order.is_repair else None
            quote = quote or await self._quote()
            await self._reserve()
            payment = await self._open_payment(quote)
            deadline = await self._mark_pending(quote, payment)
            await self._await_payment(quote, payment, deadline)
            await self._commit()
            return await self._mark(OrderStatus.PAID, None)
        except OrderEnds as end:
            stored = await self._runner.finish(
                OrderSteps.read_order, self._order.order_id, summary="is the order still open?"
            )
            if stored.status in SOLD_STATUSES:  # its workflow was reset, and fares otherwise this time
                return self._close(stored)
            story.tell_undoing(end.status, end.reason)
            for step, summary in UNDO:
                await self._runner.undo(step, summary=summary)
            return await self._mark(end.status, end.reason)

    async def _resume(self) -> Quote | None:
        """Find out how far an earlier run came; the price that the order is sold at, if it came to one.

        An order that is closed only has its end repeated, which changes nothing that was done: PAID, refunded since or
        not, goes through every step again, anything else through every undo.
        """
        resumed = await self._runner.finish(
            OrderSteps.resume_order, self._order.order_id, summary="how far did an earlier run come?"
        )
        if resumed.order.status in (OrderStatus.FAILED, OrderStatus.CANCELLED):
            raise OrderEnds(resumed.order.status, resumed.order.reason)
        return resumed.quote

    async def _quote(self) -> Quote:
        request = QuoteRequest(
            lines=self._order.lines, currency=self._order.currency, expected_total=self._order.expected_total
        )
        return await self._step(PricingSteps.quote, request, summary="price every line")

    async def _reserve(self) -> None:
        request = ReserveRequest(order_id=self._order.order_id, lines=self._order.lines)
        await self._step(StockSteps.reserve, request, summary="reserve all lines")

    async def _open_payment(self, quote: Quote) -> PaymentState:
        request = OpenPaymentRequest(
            order_id=self._order.order_id,
            user_id=self._order.user_id,
            amount=quote.total,
            currency=quote.currency,
            payment_method=self._order.payment_method,
        )
        return await self._step(PaymentSteps.open_payment, request, summary="open the payment")

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
        marked = await self._step(OrderSteps.mark_pending, request, summary="mark PENDING")
        if marked.status not in (OrderStatus.PENDING, *SOLD_STATUSES) or marked.payment_deadline is None:
            raise OrderEnds(marked.status, marked.reason)
        story.tell_pending(quote)
        return marked.payment_deadline

    async def _await_payment(self, quote: Quote, payment: PaymentState, deadline: datetime) -> None:
        """Return once the right money is in: the pivot. End the order when it cannot come any more.

        What the confirm said at the opening is not enough: it wants a signed event, or a re-read after some patience.
        """
        if self._has_news or self._reason_to_close(payment, deadline) is not None:
            # Without a wait the pivot could be in one workflow task with the steps before it. If that task got lost,
            # the next one might end the order at one of them, and undo an order that is PAID.
            await workflow.sleep(A_MOMENT, summary="write down the steps so far")
        closing: OrderEnds | None = None
        heard = False
        while True:
            closing = closing or self._reason_to_close(payment, deadline)
            if closing is not None and not payment.status.is_final:
                payment, heard = await self._close_payment(), True
            if payment.status is PaymentStatus.CANCELLED:
                raise closing or OrderEnds(OrderStatus.FAILED, Reason.PAYMENT_CANCELLED)
            if payment.status is PaymentStatus.SUCCEEDED and heard:
                return _check_amount(payment, quote)
            if closing is None:
                attempts = self._order.policy.payment_attempts
                story.tell_waiting(quote, payment, until=deadline, attempts=attempts)
            else:
                story.tell_processing(quote)
            came = await self._news_comes(
                self._patience(payment, deadline, closing),
                stop=closing is None,
                summary=story.name_wait(quote, until=deadline if closing is None else None),
            )
            payment, heard = await self._check_payment(refresh=not came), True

    def _reason_to_close(self, payment: PaymentState, deadline: datetime) -> OrderEnds | None:
        if self._runner.cancelled_by is not None:
            return OrderEnds(OrderStatus.CANCELLED, self._runner.cancelled_by)
        if payment.failed_attempts >= self._order.policy.payment_attempts:
            return OrderEnds(OrderStatus.FAILED, Reason.PAYMENT_DECLINED)
        if workflow.now() >= deadline:
            return OrderEnds(OrderStatus.FAILED, Reason.PAYMENT_TIMEOUT)
        return None

    def _patience(self, payment: PaymentState, deadline: datetime, closing: OrderEnds | None) -> timedelta:
        """How long to wait for an event before reading the payment unasked."""
        if payment.status is PaymentStatus.SUCCEEDED:
            return timedelta(seconds=self._order.policy.payment_event_patience_seconds)
        if closing is not None:
            return PROCESSING_REREAD
        return deadline - workflow.now()

    async def _news_comes(self, patience: timedelta, *, stop: bool, summary: str) -> bool:
        """Whether an event came in time. With `stop`, a wish to cancel ends the wait too."""
        try:
            await workflow.wait_condition(
                lambda: self._has_news or (stop and self._runner.cancelled_by is not None),
                timeout=patience,
                timeout_summary=summary,
            )
        except TimeoutError:
            return False
        came, self._has_news = self._has_news, False
        return came

    async def _check_payment(self, *, refresh: bool) -> PaymentState:
        request = CheckPaymentRequest(order_id=self._order.order_id, refresh=refresh)
        return await self._runner.finish(PaymentSteps.check_payment, request, summary="read the payment")

    async def _close_payment(self) -> PaymentState:
        return await self._runner.finish(PaymentSteps.close_payment, self._order.order_id, summary="take no more money")

    async def _commit(self) -> None:
        """Sell the reserved pieces. Past the pivot: only lost stock keeps the order from PAID, and gives money back."""
        try:
            await self._runner.finish(
                StockSteps.commit, self._order.order_id, summary="sell the pieces", refusals=STOCK_IS_LOST
            )
        except StepRefused:
            raise OrderEnds(OrderStatus.FAILED, Reason.STOCK_LOST) from None

    async def _mark(self, status: OrderStatus, reason: str | None) -> OrderResult:
        """Close the order, or follow whoever closed it before: one that is refunded meanwhile was PAID."""
        request = MarkRequest(order_id=self._order.order_id, cause_id="order_saga:closed", status=status, reason=reason)
        marked: Marked = await self._runner.finish(OrderSteps.mark, request, summary=f"mark {status}")
        if status is OrderStatus.PAID and marked.status not in SOLD_STATUSES:
            raise OrderEnds(marked.status, marked.reason)
        return self._close(marked)

    def _close(self, marked: Marked) -> OrderResult:
        story.tell_closed(marked.status, marked.reason)
        return OrderResult(order_id=self._order.order_id, status=marked.status, reason=marked.reason)

    async def _step(self, step: Step[Request, Response], request: Request, *, summary: str) -> Response:
        """Run a forward step; some refusals end the order FAILED."""
        try:
            return await self._runner.forward(step, request, summary=summary, refusals=frozenset(ENDS_THE_ORDER))
        except StepRefused as refused:
            raise OrderEnds(OrderStatus.FAILED, ENDS_THE_ORDER[refused.refusal]) from None


def _check_amount(payment: PaymentState, quote: Quote) -> None:
    if (payment.amount_received, payment.currency) != (quote.total, quote.currency):
        raise OrderEnds(OrderStatus.FAILED, Reason.PAYMENT_MISMATCH)
