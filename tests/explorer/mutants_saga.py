"""Sagas that are broken in one way each, and must be caught."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from temporalio import workflow

from domain.orders import CancelledBy, OrderStatus, Reason
from domain.payments import PaymentStatus
from domain.saga import ORDER_SAGA, OrderInput, OrderResult, PaymentState
from workflows.order_ending import Ending, OrderEnds
from workflows.order_saga import UNDO, OrderSaga
from workflows.payment_decision import PaymentTerms
from workflows.payment_wait import PaymentWait
from workflows.step_runner import STOPPABLE, StepRefused, StepStopped
from workflows.steps import StockSteps

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
    """What three mutants share: the process in the main coroutine, where a cancellation surfaces in every await."""

    async def _go_forward(self) -> OrderResult:
        quote = await self._quote()
        await self._reserve()
        payment = await self._open_payment(quote)
        deadline = await self._mark_pending(quote, payment)
        await self._await_payment(quote, payment, deadline)
        await self._commit()
        return await self._mark(OrderStatus.PAID, None)

    async def _go_back(self, end: OrderEnds) -> OrderResult:
        for step, summary in UNDO:
            await self._undo(step, summary=summary)
        return await self._mark(end.ending.status, end.ending.reason)


@workflow.defn(name=ORDER_SAGA)
class NoShield(Unshielded):
    """Catches the cancellation and compensates, but nothing shields the compensation."""

    @workflow.run
    async def run(self, order: OrderInput) -> OrderResult:
        try:
            return await self._go_forward()
        except asyncio.CancelledError:
            return await self._go_back(OrderEnds(Ending.cancelled(CancelledBy.OPERATOR)))
        except OrderEnds as end:
            return await self._go_back(end)


@workflow.defn(name=ORDER_SAGA)
class SingleShield(Unshielded):
    """Compensates under one `asyncio.shield`, which a cancellation that comes meanwhile gets through."""

    @workflow.run
    async def run(self, order: OrderInput) -> OrderResult:
        try:
            return await self._go_forward()
        except asyncio.CancelledError:
            return await asyncio.shield(self._go_back(OrderEnds(Ending.cancelled(CancelledBy.OPERATOR))))
        except OrderEnds as end:
            return await asyncio.shield(self._go_back(end))


@workflow.defn(name=ORDER_SAGA)
class ExceptException(Unshielded):
    """Compensates on every `Exception`, of which a cancellation is none."""

    @workflow.run
    async def run(self, order: OrderInput) -> OrderResult:
        try:
            return await self._go_forward()
        except Exception as error:
            end = error if isinstance(error, OrderEnds) else OrderEnds(Ending.failed(Reason.STOCK_LOST))
            return await self._go_back(end)


@workflow.defn(name=ORDER_SAGA)
class NoRereadAtTheDeadline(OrderSaga):
    """Takes the payment for unpaid when the time is over, without asking."""

    @workflow.run
    async def run(self, order: OrderInput) -> OrderResult:
        return await super().run(order)

    def _payment_wait(self, terms: PaymentTerms) -> PaymentWait:
        return WaitWithoutAReread(
            self._runner,
            self._changes,
            order_id=self._order.order_id,
            terms=terms,
            cancelled_by=lambda: self._cancelled_by,
        )


class WaitWithoutAReread(PaymentWait):
    """Takes the payment for cancelled."""

    async def _close(self) -> PaymentState:
        return PaymentState(
            payment_id="", status=PaymentStatus.CANCELLED, amount_received=0, currency="EUR", failed_attempts=0
        )


@workflow.defn(name=ORDER_SAGA)
class ReleaseAfterCommit(OrderSaga):
    """Gives the reservation back once the order is done, as if it were only a lock."""

    @workflow.run
    async def run(self, order: OrderInput) -> OrderResult:
        return await super().run(order)

    async def _commit(self) -> None:
        await super()._commit()
        await self._undo(StockSteps.release, summary="clean up")


@workflow.defn(name=ORDER_SAGA)
class MarkBeforeUndo(OrderSaga):
    """Tells the customer first."""

    @workflow.run
    async def run(self, order: OrderInput) -> OrderResult:
        return await super().run(order)

    async def _mark(self, status: OrderStatus, reason: str | None) -> OrderResult:
        result = await super()._mark(status, reason)
        if status is not OrderStatus.PAID:
            for step, summary in UNDO:
                await self._undo(step, summary=summary)
        return result

    async def _process(self) -> OrderResult:
        try:
            quote = await self._quote()
            await self._reserve()
            payment = await self._open_payment(quote)
            deadline = await self._mark_pending(quote, payment)
            await self._await_payment(quote, payment, deadline)
            await self._commit()
            return await self._mark(OrderStatus.PAID, None)
        except OrderEnds as end:
            return await self._mark(end.ending.status, end.ending.reason)


@workflow.defn(name=ORDER_SAGA)
class SignalTrustedForTheAmount(OrderSaga):
    """Takes an event for the payment that it announces, and does not look."""

    @workflow.run
    async def run(self, order: OrderInput) -> OrderResult:
        return await super().run(order)

    def _payment_wait(self, terms: PaymentTerms) -> PaymentWait:
        return WaitThatTrustsSignals(
            self._runner,
            self._changes,
            order_id=self._order.order_id,
            terms=terms,
            cancelled_by=lambda: self._cancelled_by,
        )


class WaitThatTrustsSignals(PaymentWait):
    """Reads the payment, and takes it for paid."""

    async def _check(self, *, refresh: bool) -> PaymentState:
        seen = await super()._check(refresh=refresh)
        if refresh:
            return seen
        return PaymentState(
            payment_id=seen.payment_id,
            status=PaymentStatus.SUCCEEDED,
            amount_received=self._terms.amount,
            currency=self._terms.currency,
            failed_attempts=0,
        )


@workflow.defn(name=ORDER_SAGA)
class CancelAfterThePivot(OrderSaga):
    """Looks at a cancellation request when the money is in."""

    @workflow.run
    async def run(self, order: OrderInput) -> OrderResult:
        return await super().run(order)

    async def _commit(self) -> None:
        refusals = frozenset({"RESERVATION_RELEASED", "RESERVATION_NOT_FOUND"})
        try:
            await self._runner.run(
                StockSteps.commit, self._order.order_id, summary="commit", policy=STOPPABLE.answering(refusals)
            )
        except StepRefused:
            raise OrderEnds(Ending.failed(Reason.STOCK_LOST)) from None
        except StepStopped:
            raise OrderEnds(Ending.cancelled(self._cancelled_by)) from None
