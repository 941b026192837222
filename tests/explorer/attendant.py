"""The person who looks at attention: sends `retry` for a refused step, or does its work and sends `resolve`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from temporalio.client import WorkflowUpdateFailedError
from temporalio.service import RPCError

if TYPE_CHECKING:
    from tests.explorer.case import Case

PATIENCE: Final = 3
"""How often one step may be parked before nobody believes in it any more."""


async def attend(case: Case, *, step: str, why: str) -> None:
    """React to attention that was raised."""
    if not why.startswith("refused: "):
        return  # tried again by itself
    case.parked[step] += 1
    if case.parked[step] > PATIENCE:
        if case.parked[step] == PATIENCE + 1:
            await case.give_up(f"{step} stays parked: {why}")
        return
    verdict = "retry"
    if step in case.barred:
        await _do_by_hand(case, step)
        verdict = "resolve"
    try:
        await case.handle.execute_update(verdict)
    except (WorkflowUpdateFailedError, RPCError):
        return  # the order was cancelled meanwhile, which ends the parking too


async def _do_by_hand(case: Case, step: str) -> None:
    if case.intent is not None and case.intent.status == "processing":
        case.shop.stripe.settle(case.intent.id)  # a person waits for the money before giving it back
    work = {"void_payment": case.shop.payments.void_payment, "release": case.shop.stock.release}
    await work[step](case.order_id)
