"""The case of a dispute: people's attention from its beginning to its end. It is answered in Stripe's dashboard."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from temporalio import workflow

from domain.money import format_money
from domain.refunds import DisputeStatus
from domain.saga import (
    DISPUTE_CASE,
    DISPUTE_CHANGED_SIGNAL,
    CloseDisputeRequest,
    DisputeInput,
    DisputeState,
)
from workflows import story
from workflows.shield import run_shielded
from workflows.step_runner import StepRunner
from workflows.steps import DisputeSteps

REREAD: Final = timedelta(hours=12)
"""How often an open dispute is looked at when no event comes: it takes weeks."""
SUBJECT: Final = "dispute"


@workflow.defn(name=DISPUTE_CASE)
class DisputeCase:
    """One dispute. It may run at any time and any number of times."""

    @workflow.init
    def __init__(self, dispute: DisputeInput) -> None:
        self._dispute = dispute
        self._runner = StepRunner(
            dispute.order_id, attention_after=dispute.attention_after_seconds, about=dispute.dispute_id
        )
        self._has_news = False

    @workflow.signal(name=DISPUTE_CHANGED_SIGNAL)
    def dispute_changed(self) -> None:
        """A wake-up: the payment service has news of the dispute."""
        self._has_news = True

    @workflow.run
    async def run(self, dispute: DisputeInput) -> DisputeStatus:
        """Run until the dispute is decided, also when somebody cancels the workflow; answers with how it ended."""
        status, _ = await run_shielded(self._process(), on_cancel=lambda: None)
        return status

    async def _process(self) -> DisputeStatus:
        while True:
            self._has_news = False
            dispute = await self._runner.finish(
                DisputeSteps.check_dispute, self._dispute.dispute_id, summary="read the dispute"
            )
            if dispute.status.is_open:
                await self._runner.raise_attention(SUBJECT, _in_words(dispute))
                story.tell_dispute(dispute)
                await self._wait_for_news()
                continue
            await self._runner.clear_attention(SUBJECT)
            request = CloseDisputeRequest(dispute_id=dispute.dispute_id, version=dispute.version)
            closed = await self._runner.finish(DisputeSteps.close_dispute, request, summary="it is decided")
            if closed and not self._has_news:
                story.tell_dispute(dispute)
                return dispute.status

    async def _wait_for_news(self) -> None:
        try:
            await workflow.wait_condition(
                lambda: self._has_news, timeout=REREAD, timeout_summary="waits for the customer's bank"
            )
        except TimeoutError:
            return  # an event may have been lost: look


def _in_words(dispute: DisputeState) -> str:
    until = dispute.respond_by
    answer = "" if until is None else f"; answer it at Stripe until {until:%Y-%m-%d %H:%M} UTC"
    amount = format_money(dispute.amount, dispute.currency)
    return f"the customer disputes {amount} with their bank ({dispute.reason}){answer}"
