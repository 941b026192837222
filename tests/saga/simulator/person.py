"""The person on call, who decides about parked steps; and what Stripe and banks do when enough time has passed."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from temporalio.client import WorkflowUpdateFailedError
from temporalio.service import RPCError

from sandbox.stripe.disputes import DisputeStatus
from sandbox.stripe.objects import IntentStatus, RefundStatus
from tests.saga.simulator.turns import Flow

if TYPE_CHECKING:
    from tests.saga.simulator.case import Case

MOST_DECISIONS: Final = 3
"""How often one step of an order may be parked before nobody believes in it any more."""
LOOKS: Final = 3
"""How often something is looked at before Stripe, or the bank, is done with it without an event."""
PAYMENT_STEPS: Final = frozenset({"open_payment", "check_payment", "close_payment", "void_payment"})
STILL_FAILING: Final = ("does not get through", "has failed for")
"""What the note begins with when a step is tried again by itself."""
RESOLVED: Final = "resolved"
"""The case in which the person resolves at once."""
CHARGED_BACK: Final = "charged-back"
"""The case in which the bank decides for the customer."""


async def attend(case: Case, flow: Flow, *, step: str, note: str, is_woken: bool) -> None:
    """React to attention that was raised, unless the workflow was woken meanwhile and goes on by itself."""
    if note.startswith(STILL_FAILING) or step == "dispute":
        return
    if flow.name:
        await _attend_refund(case, flow, step=step, note=note, is_woken=is_woken)
    else:
        await _attend_order(case, flow, step=step, note=note)


async def _attend_order(case: Case, flow: Flow, *, step: str, note: str) -> None:
    case.decisions[step] += 1
    if case.decisions[step] > MOST_DECISIONS:
        if case.decisions[step] == MOST_DECISIONS + 1:
            await case.give_up(f"{step} stays parked: {note}", flow)
        return
    if step not in case.barred:
        await case.retry(flow)
        return
    await case.slot.installation.repeat("release", case.order_id)
    with suppress(WorkflowUpdateFailedError, RPCError):  # the order was cancelled meanwhile, which ends the parking too
        await case.resolve(flow)


async def _attend_refund(case: Case, flow: Flow, *, step: str, note: str, is_woken: bool) -> None:
    """Try a parked step again once, then do its work and say so, unless the schedule says otherwise."""
    scheduled, case.scheduled_decision = case.scheduled_decision, ""
    is_refused = note.startswith("refused: ")
    if not scheduled and not is_refused and (is_woken or "DISPUTED" in note):
        return  # it looks, or will be woken when the bank has decided, and asks again if it has to
    name = flow.prefixed(step)
    case.decisions[name] += 1
    resolves = case.schedule.beginning == RESOLVED or case.decisions[name] > 1 or "cannot be" in note
    decision = scheduled or ("resolve" if resolves else "retry")
    case.trace.append(f"{decision} {name}")
    if decision == "resolve":
        with suppress(WorkflowUpdateFailedError, RPCError):  # it cannot be done by hand
            await case.resolve(flow)
            case.done_by_hand.add(name)
            return
    await case.retry(flow)


def let_time_decide(case: Case, flow: Flow, step: str) -> None:
    """What Stripe and banks are not done with they are done with in the end, and no event is delivered of it."""
    account = case.slot.installation.account
    seen = case.at_stripe
    if step in PAYMENT_STEPS and seen.intent is not None and seen.intent.status is IntentStatus.PROCESSING:
        case.looks["payment"] += 1
        if case.looks["payment"] > LOOKS:
            account.settle(seen.intent.id)
    if step not in ("carry_out_refund", "check_dispute"):
        return
    case.looks[flow.prefixed(step)] += 1
    if case.looks[flow.prefixed(step)] <= LOOKS:
        return
    if step == "carry_out_refund":
        for refund in seen.refunds_that_are(RefundStatus.PENDING):
            account.change_refund(refund.id, RefundStatus.SUCCEEDED)
    else:
        decided = DisputeStatus.LOST if case.schedule.beginning == CHARGED_BACK else DisputeStatus.WON
        for dispute in seen.open_disputes:
            is_inquiry = dispute.status.startswith("warning")
            account.change_dispute(dispute.id, DisputeStatus.WARNING_CLOSED if is_inquiry else decided)
