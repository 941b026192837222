"""The wait for an order's payment: makes the moves that `workflows.payment_decision` decides on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from temporalio import workflow

from domain.orders import CancelledBy
from domain.saga import CheckPaymentRequest, PaymentState
from workflows import history, web_ui
from workflows.changes import Changes
from workflows.order_ending import Ending, OrderEnds
from workflows.payment_decision import (
    ClosePayment,
    EndOrder,
    Evidence,
    PaymentTerms,
    Proceed,
    Wait,
    find_ending,
    next_move,
)
from workflows.step_runner import SHIELDED, StepRunner
from workflows.steps import PaymentSteps

A_MOMENT: Final = timedelta(milliseconds=1)


class HistoryFull(Exception):
    """The order still waits, and this run was woken often enough."""


class PaymentWait:
    """The wait of one order.

    Args:
        runner: runs its steps.
        changes: notified of each signed event of the payment.
        order_id: whose payment it is.
        terms: what the order asks of the payment.
        cancelled_by: who asked for the order's cancellation, if anybody did by now.
    """

    def __init__(
        self,
        runner: StepRunner,
        changes: Changes,
        *,
        order_id: str,
        terms: PaymentTerms,
        cancelled_by: Callable[[], CancelledBy | None],
    ) -> None:
        self._runner = runner
        self._changes = changes
        self._order_id = order_id
        self._terms = terms
        self._cancelled_by = cancelled_by

    async def run(self, payment: PaymentState) -> None:
        """Return once the right money is in: the pivot.

        Args:
            payment: as it was when it was opened.

        Raises:
            OrderEnds: the right money cannot come any more.
            HistoryFull: the wait is to go on in a new run.
        """
        await self._end_task(payment)
        evidence = Evidence.OPENED
        decided: Ending | None = None
        while True:
            move = next_move(
                self._terms,
                payment,
                evidence=evidence,
                now=workflow.now(),
                cancelled_by=self._cancelled_by(),
                decided=decided,
            )
            match move:
                case Proceed():
                    return
                case EndOrder():
                    raise OrderEnds(move.ending)
                case ClosePayment():
                    decided = move.ending
                    payment, evidence = await self._close(), Evidence.CLOSED
                case Wait():
                    decided = move.ending
                    if decided is None and history.is_full():
                        raise HistoryFull
                    has_changed = await self._wait(payment, move)
                    payment, evidence = await self._check(refresh=not has_changed), Evidence.READ

    async def _end_task(self, payment: PaymentState) -> None:
        """End the workflow task of the steps before, unless the wait does so.

        Else the pivot could be in one task with them. If that task got lost, the next one might end the order at one of
        them, and undo an order whose stock is sold.
        """
        ending = find_ending(self._terms, payment, now=workflow.now(), cancelled_by=self._cancelled_by())
        if ending is not None or self._changes.are_pending() or self._terms.is_free:
            await workflow.sleep(A_MOMENT, summary="record the steps so far")

    async def _wait(self, payment: PaymentState, wait: Wait) -> bool:
        """Whether an event came. If none did, it may have been lost."""
        web_ui.show_waiting(self._terms, payment, wait)
        return await self._changes.wait(
            longest=wait.until - workflow.now(),
            summary=web_ui.label_wait(self._terms, wait),
            or_until=lambda: wait.ending is None and self._cancelled_by() is not None,
        )

    async def _check(self, *, refresh: bool) -> PaymentState:
        request = CheckPaymentRequest(order_id=self._order_id, refresh=refresh)
        return await self._runner.run(PaymentSteps.check_payment, request, summary="read the payment", policy=SHIELDED)

    async def _close(self) -> PaymentState:
        return await self._runner.run(
            PaymentSteps.close_payment, self._order_id, summary="close the payment", policy=SHIELDED
        )
