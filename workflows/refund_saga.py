"""The saga of a refund: from requested to paid out, with the order and its stock updated."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from temporalio import workflow
from temporalio.common import VersioningBehavior

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
from workflows import history, web_ui
from workflows.activity_calls import step_name
from workflows.parkable_workflow import ParkableWorkflow
from workflows.shield import run_shielded
from workflows.step_runner import SHIELDED, StepRefused
from workflows.steps import OrderSteps, RefundSteps, StockSteps
from workflows.stuck_step import Remedy

PENDING_REREAD: Final = timedelta(hours=1)
"""How often a refund that Stripe is still processing is read when no event comes."""
CARRY_OUT: Final = SHIELDED.answering({Refusal.PAYMENT_DISPUTED.value})
REPLACE: Final = SHIELDED.answering(
    {
        Refusal.PAYMENT_DISPUTED.value,
        Refusal.REFUND_EXCEEDS_PAYMENT.value,
        Refusal.REFUND_NEEDS_APPROVAL.value,
    }
)
FAILED: Final = {RefundStatus.FAILED: "the refund failed", RefundStatus.CANCELLED: "the refund was canceled"}


# It may run for weeks, longer than the workers of its release: it goes on with the next ones, by `workflow.patched`.
@workflow.defn(name=REFUND_SAGA, versioning_behavior=VersioningBehavior.AUTO_UPGRADE)
class RefundSaga(ParkableWorkflow):
    """One refund. What the payment service knows of it is what counts; this makes order and stock agree with that.

    It may run at any time and any number of times: a refund that Stripe takes back weeks later runs it once more.
    """

    @workflow.init
    def __init__(self, refund: RefundInput) -> None:
        super().__init__(refund.order_id, attention_after=refund.attention_after_seconds, qualifier=refund.refund_id)
        self._refund = refund

    @workflow.signal(name=REFUND_CHANGED_SIGNAL)
    def refund_changed(self) -> None:
        """A wake-up: the payment service stored a change of the refund, or of a dispute that it waits for."""
        self._changes.notify()

    @workflow.run
    async def run(self, refund: RefundInput) -> RefundResult:
        """Run to the end. Cancelling the workflow changes nothing: a refund that is due stays due."""
        result, _ = await run_shielded(self._process(), on_cancel=lambda: None)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return result

    async def _process(self) -> RefundResult:
        while True:
            if history.is_full():
                workflow.continue_as_new(self._refund)
            self._changes.clear()
            try:
                refund = await self._carry_out()
            except StepRefused as disputed:
                await self._park(str(disputed), resolvable=False)
                continue
            web_ui.show_refund(refund)
            if refund.status is RefundStatus.PENDING:
                await self._changes.wait(longest=PENDING_REREAD, summary="waits for the payment provider")
                continue
            await self._mark_order(refund)
            if refund.status is RefundStatus.SUCCEEDED:
                await self._restock(refund)
            if refund.status.has_failed:
                await self._ask_for_decision(refund)
            elif await self._close(refund) and not self._changes.are_pending():
                return RefundResult(refund_id=refund.refund_id, status=refund.status)

    async def _carry_out(self) -> RefundState:
        return await self._runner.run(
            RefundSteps.carry_out_refund, self._refund.refund_id, summary="make the refund", policy=CARRY_OUT
        )

    async def _mark_order(self, refund: RefundState) -> None:
        """Let the order follow; one that ended without being paid has nothing to follow when its money goes back."""
        if refund.origin is RefundOrigin.VOID:
            return
        request = MarkRefundedRequest(
            order_id=refund.order_id,
            refund_id=refund.refund_id,
            amount=refund.amount,
            succeeded=refund.status is RefundStatus.SUCCEEDED,
            version=refund.version,
        )
        await self._runner.run(OrderSteps.mark_refunded, request, summary="update the order", policy=SHIELDED)

    async def _restock(self, refund: RefundState) -> None:
        if refund.restock:
            request = RestockRequest(restock_id=refund.restock_id, order_id=refund.order_id, lines=refund.restock)
            await self._runner.run_or_resolve(StockSteps.restock, request, summary="put the units back into stock")

    async def _ask_for_decision(self, refund: RefundState) -> None:
        """Wait until a person decides what becomes of a refund that failed, or until Stripe changes it."""
        note = f"{FAILED[refund.status]}: {refund.failure_reason or 'the payment provider gave no reason'}"
        while True:
            match await self._park(note, resolvable=True):
                case None:
                    return
                case Remedy.RESOLVE:
                    await self._resolve()
                    return
                case Remedy.RETRY:
                    try:
                        await self._replace()
                    except StepRefused as refused:
                        note = f"the refund cannot be replaced: {refused}"
                    else:
                        return

    async def _park(self, note: str, *, resolvable: bool) -> Remedy | None:
        return await self._stuck.wait(
            step_name(RefundSteps.carry_out_refund),
            note,
            resolvable=resolvable,
            or_until=self._changes.are_pending,
        )

    async def _resolve(self) -> None:
        await self._runner.run(
            RefundSteps.resolve_refund, self._refund.refund_id, summary="a person dealt with it", policy=SHIELDED
        )

    async def _replace(self) -> None:
        await self._runner.run(
            RefundSteps.replace_refund, self._refund.refund_id, summary="replace the failed refund", policy=REPLACE
        )

    async def _close(self, refund: RefundState) -> bool:
        request = CloseRefundRequest(refund_id=refund.refund_id, version=refund.version)
        return await self._runner.run(RefundSteps.close_refund, request, summary="close the refund", policy=SHIELDED)
