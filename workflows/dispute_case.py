"""The case of a dispute: it holds people's attention until the bank decides. It is answered in Stripe's dashboard."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from temporalio import workflow
from temporalio.common import VersioningBehavior

from domain.money import format_money
from domain.refunds import DisputeStatus
from domain.saga import (
    DISPUTE_CASE,
    DISPUTE_CHANGED_SIGNAL,
    CloseDisputeRequest,
    DisputeInput,
    DisputeState,
)
from workflows import history, web_ui
from workflows.parkable_workflow import ParkableWorkflow
from workflows.shield import run_shielded
from workflows.step_runner import SHIELDED
from workflows.steps import DisputeSteps

REREAD: Final = timedelta(hours=12)
"""How often an open dispute is read when no event comes: it takes weeks."""
SUBJECT: Final = "dispute"
"""Stands for a step in attention."""


# It may run for months, longer than the workers of its release: it goes on with the next ones, by `workflow.patched`.
@workflow.defn(name=DISPUTE_CASE, versioning_behavior=VersioningBehavior.AUTO_UPGRADE)
class DisputeCase(ParkableWorkflow):
    """One dispute. It may run at any time and any number of times."""

    @workflow.init
    def __init__(self, dispute: DisputeInput) -> None:
        super().__init__(
            dispute.order_id, attention_after=dispute.attention_after_seconds, qualifier=dispute.dispute_id
        )
        self._dispute = dispute

    @workflow.signal(name=DISPUTE_CHANGED_SIGNAL)
    def dispute_changed(self) -> None:
        """A wake-up: the payment service stored a change of the dispute."""
        self._changes.notify()

    @workflow.run
    async def run(self, dispute: DisputeInput) -> DisputeStatus:
        """Run until the dispute is decided, also when somebody cancels the workflow; answers with how it ended."""
        status, _ = await run_shielded(self._process(), on_cancel=lambda: None)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return status

    async def _process(self) -> DisputeStatus:
        while True:
            if history.is_full():
                workflow.continue_as_new(self._dispute)
            self._changes.clear()
            dispute = await self._check()
            if dispute.status.is_open:
                await self._attention.raise_for(SUBJECT, _describe(dispute))
                web_ui.show_dispute(dispute)
                await self._changes.wait(longest=REREAD, summary="waits for the customer's bank")
                continue
            await self._attention.clear(SUBJECT)
            if await self._close(dispute) and not self._changes.are_pending():
                web_ui.show_dispute(dispute)
                return dispute.status

    async def _check(self) -> DisputeState:
        return await self._runner.run(
            DisputeSteps.check_dispute, self._dispute.dispute_id, summary="read the dispute", policy=SHIELDED
        )

    async def _close(self, dispute: DisputeState) -> bool:
        request = CloseDisputeRequest(dispute_id=dispute.dispute_id, version=dispute.version)
        return await self._runner.run(DisputeSteps.close_dispute, request, summary="close the dispute", policy=SHIELDED)


def _describe(dispute: DisputeState) -> str:
    by = dispute.respond_by
    respond = "" if by is None else f"; respond in Stripe's dashboard by {by:%Y-%m-%d %H:%M} UTC"
    amount = format_money(dispute.amount, dispute.currency)
    return f"the customer disputes {amount} with their bank ({dispute.reason}){respond}"
