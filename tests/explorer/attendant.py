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
        await case.shop.stock.release(case.order_id)
        verdict = "resolve"
    try:
        await case.handle.execute_update(verdict)
    except (WorkflowUpdateFailedError, RPCError):
        return  # the order was cancelled meanwhile, which ends the parking too
