"""Refund workflows and doubles that are broken in one way each, and where they are looked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from typing import Any

from temporalio import workflow

from domain.refunds import RefundStatus
from domain.saga import REFUND_SAGA, CloseRefundRequest, MarkRefundedRequest, RefundInput, RefundResult, RefundState
from tests.doubles.payments import Payment
from tests.doubles.refunds import RefundsDouble
from tests.doubles.shop import DoubledShop
from tests.explorer.refund_explore import longer
from tests.explorer.refund_lab import Lab, Outcome
from tests.explorer.schedule import Schedule
from workflows.refund_saga import RefundSaga
from workflows.step_runner import SHIELDED
from workflows.steps import OrderSteps, RefundSteps


@workflow.defn(name=REFUND_SAGA)
class ClosedBeforeTheOrderWasTold(RefundSaga):
    """Says that all is done, and does it then."""

    @workflow.run
    async def run(self, refund: RefundInput) -> RefundResult:
        return await super().run(refund)

    async def _mark_order(self, refund: RefundState) -> None:
        if refund.status is RefundStatus.SUCCEEDED:
            request = CloseRefundRequest(refund_id=refund.refund_id, version=refund.version)
            await self._runner.run(RefundSteps.close_refund, request, summary="close the refund", policy=SHIELDED)
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
    """Tells the order each time the same version."""

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
    """Ends when a person has dealt with the refund, without telling the order how it stands now."""

    @workflow.run
    async def run(self, refund: RefundInput) -> RefundResult:
        return await super().run(refund)

    async def _mark_order(self, refund: RefundState) -> None:
        if refund.status is not RefundStatus.RESOLVED:
            await super()._mark_order(refund)


class NewKeyWithoutALook(RefundsDouble):
    """Makes the refund under a new key each time, and does not look whether Stripe has it."""

    async def carry_out_refund(self, refund_id: str) -> RefundState:
        payment, refund = self._payments.find_refund(refund_id)
        if refund.status is RefundStatus.REQUESTED:
            refund.generation += 1
            catch_up, self._payments.catch_up = self._payments.catch_up, _look_away  # type: ignore[method-assign]
            try:
                self._make(payment, refund)
            finally:
                self._payments.catch_up = catch_up  # type: ignore[method-assign]
        return await super().carry_out_refund(refund_id)


class MadeDuringADispute(RefundsDouble):
    """Asks Stripe for the refund, whatever is known of a chargeback."""

    async def carry_out_refund(self, refund_id: str) -> RefundState:
        payment, refund = self._payments.find_refund(refund_id)
        self._payments.catch_up(payment)
        if refund.status is RefundStatus.REQUESTED:
            self._make(payment, refund)
        return await super().carry_out_refund(refund_id)


class TwiceInPlaceOfOne(RefundsDouble):
    """Makes one more refund in the place of a failed one each time that it is asked."""

    async def replace_refund(self, refund_id: str) -> RefundState:
        _, refund = self._payments.find_refund(refund_id)
        if refund.status is RefundStatus.REPLACED:
            refund.status = RefundStatus.FAILED
        return await super().replace_refund(refund_id)


def _look_away(payment: Payment) -> None:
    """Sees nothing."""


def _shop(refunds: type[RefundsDouble]) -> type[DoubledShop]:
    """A shop with these steps of refunds."""

    class Broken(DoubledShop):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.refunds = refunds(self.payments, self.stripe, **options)

    return Broken


@dataclass(frozen=True, slots=True, kw_only=True)
class Hunt:
    """A mutant, and where it is looked for: one shape and one move of a few kinds."""

    shape: str
    breaks: str
    """What of the breach names the rule that is broken."""
    moves: Sequence[str] = ()
    """Patterns of the moves that are made."""
    saga: type = RefundSaga
    refunds: type[RefundsDouble] = RefundsDouble

    def lab(self) -> Lab:
        """Where the mutant runs."""
        return Lab(saga=self.saga, make_shop=_shop(self.refunds))

    async def run(self, lab: Lab) -> list[Outcome]:
        """The shape alone, then with each of the moves, until a rule is broken."""
        ran = await lab.run([Schedule(self.shape)])
        if not any(outcome.breaches for outcome in ran) and self.moves:
            schedules = [each for each in longer(ran[0]) if any(fnmatch(str(each.moves[-1]), p) for p in self.moves)]
            ran += await lab.run(schedules)
        return ran


HUNTS = {
    "closed before the order was told": Hunt(
        saga=ClosedBeforeTheOrderWasTold, shape="part", breaks="the order was told"
    ),
    "restocked under its own id after a replacement": Hunt(
        saga=RestockedUnderItsOwnId, shape="part", moves=("back@end",), breaks="asked for"
    ),
    "marked without a version": Hunt(
        saga=MarkedWithoutAVersion, shape="part", moves=("back@end",), breaks="the order was told"
    ),
    "resolved without the order": Hunt(saga=ResolvedWithoutTheOrder, shape="resolved", breaks="the order was told"),
    "a new key without a look at Stripe": Hunt(
        refunds=NewKeyWithoutALook, shape="part", moves=("r1.carry_out_refund:untold",), breaks="refunds at Stripe for"
    ),
    "made while a bank decides": Hunt(
        refunds=MadeDuringADispute, shape="disputed", breaks="chargeback is known to be open"
    ),
    "replaced twice": Hunt(
        refunds=TwiceInPlaceOfOne, shape="failed", moves=("r1.replace_refund:lost",), breaks="refunds in the place of"
    ),
}
"""The mutants that must be caught, by what is wrong with them."""
