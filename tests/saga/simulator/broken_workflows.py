"""Workflows that are broken in one way each, and must be caught."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from temporalio import workflow

from domain.orders import CancelledBy, OrderStatus, Reason
from domain.payments import PaymentStatus
from domain.refunds import RefundStatus
from domain.refusals import Refusal
from domain.saga import (
    ORDER_SAGA,
    REFUND_SAGA,
    CloseRefundRequest,
    MarkRefundedRequest,
    OrderInput,
    OrderResult,
    PaymentState,
    RefundInput,
    RefundResult,
    RefundState,
)
from workflows.order_ending import Ending, OrderEnds
from workflows.order_saga import UNDO, OrderSaga
from workflows.payment_decision import PaymentTerms
from workflows.payment_wait import PaymentWait
from workflows.refund_saga import RefundSaga
from workflows.step_runner import SHIELDED, STOPPABLE, StepRefused, StepStopped
from workflows.steps import OrderSteps, RefundSteps, StockSteps

Undo = tuple[Callable[[Any, str], Coroutine[Any, Any, None]], str]


@workflow.defn(name=ORDER_SAGA)
class UndoRegisteredAfterItsStep(OrderSaga):
    """Undoes only what the history came to."""

    @workflow.run
    async def run(self, order: OrderInput) -> OrderResult:
        return await super().run(order)

    async def _process(self) -> OrderResult:
        undo: list[Undo] = []
        try:
            quote = await self._quote()
            await self._reserve()
            undo.insert(0, UNDO[1])
            payment = await self._open_payment(quote)
            undo.insert(0, UNDO[0])
            deadline = await self._mark_pending(quote, payment)
            await self._await_payment(quote, payment, deadline)
            await self._commit()
            return await self._mark(OrderStatus.PAID, None)
        except OrderEnds as end:
            for step, summary in undo:
                await self._undo(step, summary=summary)
            return await self._mark(end.ending.status, end.ending.reason)


class Unshielded(OrderSaga):
    """What three broken sagas share: the process in the main coroutine, where cancelling surfaces in every await."""

    async def _go(self) -> OrderResult:
        quote = await self._quote()
        await self._reserve()
        payment = await self._open_payment(quote)
        deadline = await self._mark_pending(quote, payment)
        await self._await_payment(quote, payment, deadline)
        await self._commit()
        return await self._mark(OrderStatus.PAID, None)

    async def _undo_all(self, ending: Ending) -> OrderResult:
        for step, summary in UNDO:
            await self._undo(step, summary=summary)
        return await self._mark(ending.status, ending.reason)


@workflow.defn(name=ORDER_SAGA)
class NoShield(Unshielded):
    """Catches the cancellation and compensates, but nothing shields the compensation."""

    @workflow.run
    async def run(self, order: OrderInput) -> OrderResult:
        try:
            return await self._go()
        except asyncio.CancelledError:
            return await self._undo_all(Ending.cancelled(CancelledBy.OPERATOR))
        except OrderEnds as end:
            return await self._undo_all(end.ending)


@workflow.defn(name=ORDER_SAGA)
class SingleShield(Unshielded):
    """Compensates under one `asyncio.shield`, which a cancellation that comes meanwhile gets through."""

    @workflow.run
    async def run(self, order: OrderInput) -> OrderResult:
        try:
            return await self._go()
        except asyncio.CancelledError:
            return await asyncio.shield(self._undo_all(Ending.cancelled(CancelledBy.OPERATOR)))
        except OrderEnds as end:
            return await asyncio.shield(self._undo_all(end.ending))


@workflow.defn(name=ORDER_SAGA)
class ExceptException(Unshielded):
    """Compensates on every `Exception`, of which a cancellation is none."""

    @workflow.run
    async def run(self, order: OrderInput) -> OrderResult:
        try:
            return await self._go()
        except Exception as error:
            return await self._undo_all(
                error.ending if isinstance(error, OrderEnds) else Ending.failed(Reason.STOCK_LOST)
            )


class WaitWithoutReread(PaymentWait):
    """Takes the payment for cancelled without asking."""

    async def _close(self) -> PaymentState:
        return PaymentState(
            payment_id="", status=PaymentStatus.CANCELLED, amount_received=0, currency="EUR", failed_attempts=0
        )


@workflow.defn(name=ORDER_SAGA)
class NoRereadAtTheDeadline(OrderSaga):
    """Takes the payment for unpaid when the time is over, without asking."""

    @workflow.run
    async def run(self, order: OrderInput) -> OrderResult:
        return await super().run(order)

    def _payment_wait(self, terms: PaymentTerms) -> PaymentWait:
        return WaitWithoutReread(
            self._runner,
            self._changes,
            order_id=self._order.order_id,
            terms=terms,
            cancelled_by=lambda: self._cancelled_by,
        )


@workflow.defn(name=ORDER_SAGA)
class ReleaseAfterCommit(OrderSaga):
    """Releases the reservation once the order is done, as if it were only a lock."""

    @workflow.run
    async def run(self, order: OrderInput) -> OrderResult:
        return await super().run(order)

    async def _commit(self) -> None:
        await super()._commit()
        await self._undo(StockSteps.release, summary="clean up")


@workflow.defn(name=ORDER_SAGA)
class MarkBeforeUndo(Unshielded):
    """Says how the order ends before that is true."""

    @workflow.run
    async def run(self, order: OrderInput) -> OrderResult:
        return await OrderSaga.run(self, order)

    async def _process(self) -> OrderResult:
        try:
            return await self._go()
        except OrderEnds as end:
            result = await self._mark(end.ending.status, end.ending.reason)
            for step, summary in UNDO:
                await self._undo(step, summary=summary)
            return result


class TrustingWait(PaymentWait):
    """Takes an event for the payment that it announces, and does not look."""

    async def _check(self, *, refresh: bool) -> PaymentState:
        seen = await super()._check(refresh=refresh)
        if refresh:
            return seen
        return replace(seen, status=PaymentStatus.SUCCEEDED, amount_received=self._terms.amount)


@workflow.defn(name=ORDER_SAGA)
class SignalTrustedForTheAmount(OrderSaga):
    """Sells for whatever an event announces."""

    @workflow.run
    async def run(self, order: OrderInput) -> OrderResult:
        return await super().run(order)

    def _payment_wait(self, terms: PaymentTerms) -> PaymentWait:
        return TrustingWait(
            self._runner,
            self._changes,
            order_id=self._order.order_id,
            terms=terms,
            cancelled_by=lambda: self._cancelled_by,
        )


@workflow.defn(name=ORDER_SAGA)
class CancelAfterThePivot(OrderSaga):
    """Looks at a cancellation request when the money is in."""

    @workflow.run
    async def run(self, order: OrderInput) -> OrderResult:
        return await super().run(order)

    async def _commit(self) -> None:
        policy = STOPPABLE.answering({Refusal.RESERVATION_RELEASED.value, Refusal.RESERVATION_NOT_FOUND.value})
        try:
            await self._runner.run(StockSteps.commit, self._order.order_id, summary="sell", policy=policy)
        except StepRefused:
            raise OrderEnds(Ending.failed(Reason.STOCK_LOST)) from None
        except StepStopped:
            raise OrderEnds(Ending.cancelled(self._cancelled_by)) from None


@workflow.defn(name=REFUND_SAGA)
class ClosedBeforeTheOrderIsUpdated(RefundSaga):
    """Says that all is done, and does it then."""

    @workflow.run
    async def run(self, refund: RefundInput) -> RefundResult:
        return await super().run(refund)

    async def _mark_order(self, refund: RefundState) -> None:
        if refund.status is RefundStatus.SUCCEEDED:
            request = CloseRefundRequest(refund_id=refund.refund_id, version=refund.version)
            await self._runner.run(RefundSteps.close_refund, request, summary="all is done", policy=SHIELDED)
        await super()._mark_order(refund)


@workflow.defn(name=REFUND_SAGA)
class RestockedUnderItsOwnId(RefundSaga):
    """Puts the units back once for each refund, also for one in the place of another."""

    @workflow.run
    async def run(self, refund: RefundInput) -> RefundResult:
        return await super().run(refund)

    async def _restock(self, refund: RefundState) -> None:
        await super()._restock(replace(refund, restock_id=refund.refund_id))


@workflow.defn(name=REFUND_SAGA)
class MarkedWithoutAVersion(RefundSaga):
    """Updates the order each time with the same version."""

    @workflow.run
    async def run(self, refund: RefundInput) -> RefundResult:
        return await super().run(refund)

    async def _mark_order(self, refund: RefundState) -> None:
        request = MarkRefundedRequest(
            order_id=refund.order_id,
            refund_id=refund.refund_id,
            amount=refund.amount,
            succeeded=refund.status is RefundStatus.SUCCEEDED,
            version=1,
        )
        await self._runner.run(OrderSteps.mark_refunded, request, summary="update the order", policy=SHIELDED)


@workflow.defn(name=REFUND_SAGA)
class ResolvedWithoutTheOrder(RefundSaga):
    """Ends when a person has dealt with the refund, without updating the order."""

    @workflow.run
    async def run(self, refund: RefundInput) -> RefundResult:
        return await super().run(refund)

    async def _mark_order(self, refund: RefundState) -> None:
        if refund.status is not RefundStatus.RESOLVED:
            await super()._mark_order(refund)
