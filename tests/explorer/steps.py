"""The saga's steps as activities: each finds its case, lets happen what the schedule says, and asks the doubles."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from domain.orders import OrderStatus
from domain.refusals import Refusal
from domain.saga import (
    AttentionRequest,
    CheckPaymentRequest,
    Marked,
    MarkPendingRequest,
    MarkRefundedRequest,
    MarkRequest,
    OpenPaymentRequest,
    PaymentState,
    Quote,
    QuoteRequest,
    ReserveRequest,
    RestockRequest,
    Resumption,
)
from tests.doubles.refusals import refused
from tests.explorer import faults, oracle
from tests.explorer.attendant import attend
from tests.explorer.case import MOST_CALLS, Case
from tests.explorer.clock import give_back_a_lock
from workflows.steps import OrderSteps, PaymentSteps, PricingSteps, StockSteps

Answer = TypeVar("Answer")

PAYMENT_STEPS: Final = frozenset({"open_payment", "check_payment", "close_payment", "void_payment"})


def _away(why: str) -> ApplicationError:
    """Trouble that passes; benign, so that the log stays readable."""
    return ApplicationError(why, type="AWAY", category=ApplicationErrorCategory.BENIGN)


class Steps(PricingSteps, StockSteps, PaymentSteps, OrderSteps):
    """All steps of all cases under way, by workflow id."""

    def __init__(self, cases: Mapping[str, Case], *, timeout: float) -> None:
        self._cases = cases
        self._too_long = timeout
        """Real seconds after which every time limit of a step is over."""

    def activities(self) -> Sequence[Callable[..., Any]]:
        """For a worker."""
        return [
            self.quote,
            self.reserve,
            self.release,
            self.commit,
            self.restock,
            self.open_payment,
            self.check_payment,
            self.close_payment,
            self.void_payment,
            self.mark_pending,
            self.mark,
            self.mark_refunded,
            self.read_order,
            self.resume_order,
            self.attention,
        ]

    @activity.defn(name="quote")
    async def quote(self, request: QuoteRequest) -> Quote:
        return await self._run("quote", lambda case: case.shop.pricing.quote(request))

    @activity.defn(name="reserve")
    async def reserve(self, request: ReserveRequest) -> None:
        await self._run("reserve", lambda case: case.shop.stock.reserve(request))

    @activity.defn(name="release")
    async def release(self, order_id: str) -> None:
        await self._run("release", lambda case: case.shop.stock.release(order_id))

    @activity.defn(name="commit")
    async def commit(self, order_id: str) -> None:
        await self._run("commit", lambda case: case.shop.stock.commit(order_id))

    @activity.defn(name="restock")
    async def restock(self, request: RestockRequest) -> None:
        await self._run("restock", lambda case: case.shop.stock.restock(request))

    @activity.defn(name="open_payment")
    async def open_payment(self, request: OpenPaymentRequest) -> PaymentState:
        return await self._run("open_payment", lambda case: case.shop.payments.open_payment(request))

    @activity.defn(name="check_payment")
    async def check_payment(self, request: CheckPaymentRequest) -> PaymentState:
        return await self._run("check_payment", lambda case: case.shop.payments.check_payment(request))

    @activity.defn(name="close_payment")
    async def close_payment(self, order_id: str) -> PaymentState:
        return await self._run("close_payment", lambda case: case.shop.payments.close_payment(order_id))

    @activity.defn(name="void_payment")
    async def void_payment(self, order_id: str) -> None:
        await self._run("void_payment", lambda case: case.shop.payments.void_payment(order_id))

    @activity.defn(name="mark_pending")
    async def mark_pending(self, request: MarkPendingRequest) -> Marked:
        self._case().pending_request = request
        return await self._run("mark_pending", lambda case: case.shop.orders.mark_pending(request))

    @activity.defn(name="mark")
    async def mark(self, request: MarkRequest) -> Marked:
        async def mark(case: Case) -> Marked:
            marked = await case.shop.orders.mark(request)
            if not OrderStatus(marked.status).is_open:
                case.breaches.extend(oracle.breaches_at_a_close(case))
            return marked

        return await self._run("mark", mark)

    @activity.defn(name="mark_refunded")
    async def mark_refunded(self, request: MarkRefundedRequest) -> Marked:
        return await self._run("mark_refunded", lambda case: case.shop.orders.mark_refunded(request))

    @activity.defn(name="read_order")
    async def read_order(self, order_id: str) -> Marked:
        return await self._run("read_order", lambda case: case.shop.orders.read_order(order_id))

    @activity.defn(name="resume_order")
    async def resume_order(self, order_id: str) -> Resumption:
        return await self._run("resume_order", lambda case: case.shop.orders.resume_order(order_id))

    @activity.defn(name="attention")
    async def attention(self, request: AttentionRequest) -> None:
        case = self._case()
        async with case.turn.wait(is_local=False):
            pass  # it runs beside the step that it is about
        await case.shop.orders.attention(request)
        if request.why is not None:
            await case.arrive("attention.after")
            await attend(case, step=request.step, why=request.why)

    def _case(self) -> Case:
        case = self._cases.get(activity.info().workflow_id or "")
        if case is None:
            raise ApplicationError("this case is over", non_retryable=True, type=Refusal.ORDER_NOT_FOUND.value)
        return case

    async def _run(self, step: str, act: Callable[[Case], Awaitable[Answer]]) -> Answer:
        case = self._case()
        await self._end_what_never_does(case)
        info = activity.info()
        await case.wish.begin_step(case.handle)
        try:
            async with case.turn.wait(is_local=info.is_local):
                return await self._run_as_scheduled(case, step, act)
        finally:
            if not info.is_local and await case.wish.closes_before_end_of(info.activity_id, case.handle):
                await give_back_a_lock(case.client)

    async def _run_as_scheduled(self, case: Case, step: str, act: Callable[[Case], Awaitable[Answer]]) -> Answer:
        kind = case.called(step)
        await case.arrive(f"{step}.before")
        await self._fail_before(case, step, kind)
        answer = await self._take_effect(case, step, act)
        if kind in (faults.LOST, faults.LATE):
            case.trace.append("its answer is lost")
        await case.arrive(f"{step}.after", is_local=activity.info().is_local)
        if kind == faults.LATE:
            await asyncio.sleep(self._too_long)
        if kind in (faults.LOST, faults.LATE):
            raise _away(f"the answer of {step} is lost")
        return answer

    async def _take_effect(self, case: Case, step: str, act: Callable[[Case], Awaitable[Answer]]) -> Answer:
        _settle_slow_money(case, step)
        case.is_inside = step in PAYMENT_STEPS
        try:
            answer = await act(case)
        except ApplicationError as error:
            case.trace.append(f"{step}/{error.type}")
            raise
        except Exception:
            case.trace.append(f"{step}/not yet")
            raise
        finally:
            case.is_inside = False
            if case.is_owed_events:
                await case.deliver()
        case.trace.append(f"{step} {_told(answer)}")
        return answer

    async def _fail_before(self, case: Case, step: str, kind: str | None) -> None:
        if kind == faults.AWAY:
            case.away[step] = faults.AWAY_CALLS
        if kind is not None and kind.startswith(faults.BAR):
            case.barred[step] = kind.removeprefix(faults.BAR)
        if case.away[step] or kind in (faults.ERROR, faults.TIMEOUT):
            case.away[step] -= case.away[step] > 0
            case.trace.append(f"{step} has no effect")
            if kind == faults.TIMEOUT:
                await asyncio.sleep(self._too_long)
            raise _away(f"{step} is away")
        refusal = case.barred.get(step)
        if kind is not None and kind.startswith(faults.REFUSE):
            refusal = kind.removeprefix(faults.REFUSE)
        if refusal is not None:
            case.trace.append(f"{step}/{refusal}")
            raise refused(Refusal(refusal), "as scheduled")

    async def _end_what_never_does(self, case: Case) -> None:
        if sum(case.calls.values()) > MOST_CALLS:
            if not case.is_endless:
                case.is_endless = True
                await case.give_up(f"goes on for ever: {case.calls.most_common(3)}")
            raise _away("this case never ends")


def _settle_slow_money(case: Case, step: str) -> None:
    """Money on its way arrives by itself in the end, without an event."""
    intent = case.intent
    if step in PAYMENT_STEPS and intent is not None and intent.status == "processing":
        case.slow_looks -= 1
        if case.slow_looks < 0:
            case.shop.stripe.settle(intent.id)


def _told(answer: object) -> str:
    """What of a step's answer the saga can go by."""
    match answer:
        case PaymentState():
            return f"{answer.status} {answer.amount_received} {answer.failed_attempts}"
        case Marked():
            return f"{answer.status} {answer.reason or ''}"
        case _:
            return ""
