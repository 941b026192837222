"""The saga of a refund: from asked for to given back, with the order and the stock told of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from temporalio import workflow

from domain.refunds import RefundOrigin, RefundStatus
from domain.refusals import Refusal
from domain.saga import (
    REFUND_CHANGED_SIGNAL,
    REFUND_SAGA,
    CloseRefundRequest,
    MarkRefundedRequest,
    RefundInput,
    RefundResult,
    RefundState,
    RestockRequest,
)
from workflows import story
from workflows.shield import run_shielded
from workflows.step_runner import StepRefused, StepRunner, Verdict
from workflows.steps import OrderSteps, RefundSteps, StockSteps

PENDING_REREAD: Final = timedelta(hours=1)
"""How often a refund that Stripe is not done with is looked at when no event comes."""
DISPUTED: Final = frozenset({Refusal.PAYMENT_DISPUTED.value})
NO_REPLACEMENT: Final = frozenset({Refusal.PAYMENT_DISPUTED.value, Refusal.REFUND_EXCEEDS_PAYMENT.value})


@workflow.defn(name=REFUND_SAGA)
class RefundSaga:
    """One refund. What the payment service knows of it is what counts; this makes order and stock agree with that.

    It may run at any time and any number of times: a refund that Stripe takes back weeks later runs it once more.
    """

    @workflow.init
    def __init__(self, refund: RefundInput) -> None:
        self._refund = refund
        self._runner = StepRunner(
            refund.order_id, attention_after=refund.attention_after_seconds, about=refund.refund_id
        )
        self._has_news = False

    @workflow.signal(name=REFUND_CHANGED_SIGNAL)
    def refund_changed(self) -> None:
        """A wake-up: the payment service has news of the refund, or of a dispute that it waits for."""
        self._has_news = True

    @workflow.update
    def retry(self) -> str:
        """Try again: a refund that failed is replaced by another one. Answers with the step."""
        return self._runner.decide_parked(Verdict.RETRY)

    @retry.validator
    def _can_retry(self) -> None:
        self._runner.check_verdict(Verdict.RETRY)

    @workflow.update
    def resolve(self) -> str:
        """Go on without the parked step, because its work was done by hand; answers with the step."""
        return self._runner.decide_parked(Verdict.RESOLVE)

    @resolve.validator
    def _can_resolve(self) -> None:
        self._runner.check_verdict(Verdict.RESOLVE)

    @workflow.run
    async def run(self, refund: RefundInput) -> RefundResult:
        """Run to the end. A request to cancel the workflow changes nothing: money that is owed stays owed."""
        result, _ = await run_shielded(self._process(), on_cancel=lambda: None)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return result

    async def _process(self) -> RefundResult:
        while True:
            self._has_news = False
            try:
                refund = await self._runner.finish(
                    RefundSteps.carry_out_refund, self._refund.refund_id, summary="give it back", refusals=DISPUTED
                )
            except StepRefused as disputed:
                await self._runner.ask(
                    RefundSteps.carry_out_refund, str(disputed), can_resolve=False, news=self._there_are_news
                )
                continue
            story.tell_refund(refund)
            if refund.status is RefundStatus.PENDING:
                await self._wait_for_news()
                continue
            await self._tell_order(refund)
            if refund.status is RefundStatus.SUCCEEDED:
                await self._restock(refund)
            if refund.status.has_failed:
                await self._ask_for_help(refund)
            elif await self._close(refund) and not self._has_news:
                return RefundResult(refund_id=refund.refund_id, status=refund.status)

    def _there_are_news(self) -> bool:
        return self._has_news

    async def _wait_for_news(self) -> None:
        try:
            await workflow.wait_condition(
                self._there_are_news, timeout=PENDING_REREAD, timeout_summary="waits for the payment provider"
            )
        except TimeoutError:
            return  # an event may have been lost: look

    async def _tell_order(self, refund: RefundState) -> None:
        """Let the order follow; one that ended without being paid has nothing to follow when it is owed the refund."""
        if refund.origin is RefundOrigin.VOID:
            return
        request = MarkRefundedRequest(
            order_id=refund.order_id,
            refund_id=refund.refund_id,
            amount=refund.amount,
            succeeded=refund.status is RefundStatus.SUCCEEDED,
            version=refund.version,
        )
        await self._runner.finish(OrderSteps.mark_refunded, request, summary="tell the order")

    async def _restock(self, refund: RefundState) -> None:
        if refund.restock:
            request = RestockRequest(restock_id=refund.restock_id, order_id=refund.order_id, lines=refund.restock)
            await self._runner.finish_or_resolve(StockSteps.restock, request, summary="put the pieces back")

    async def _ask_for_help(self, refund: RefundState) -> None:
        """Wait until a person says what becomes of a refund that failed, or Stripe says something new."""
        why = f"the refund has {refund.status.lower()}: {refund.failure_reason or 'the payment provider says not why'}"
        while True:
            verdict = await self._runner.ask(
                RefundSteps.carry_out_refund, why, can_resolve=True, news=self._there_are_news
            )
            if verdict is Verdict.RESOLVE:
                await self._runner.finish(
                    RefundSteps.resolve_refund, refund.refund_id, summary="a person dealt with it"
                )
                return
            if verdict is None:
                return
            try:
                await self._runner.finish(
                    RefundSteps.replace_refund, refund.refund_id, summary="try anew", refusals=NO_REPLACEMENT
                )
            except StepRefused as refused:
                why = f"it cannot be tried anew: {refused}"
            else:
                return

    async def _close(self, refund: RefundState) -> bool:
        request = CloseRefundRequest(refund_id=refund.refund_id, version=refund.version)
        return await self._runner.finish(RefundSteps.close_refund, request, summary="all is done")
