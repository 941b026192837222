"""The steps of refunds and disputes as activities: each lets happen what the schedule says, and asks the doubles."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

from temporalio import activity
from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.service import RPCError

from domain.refusals import Refusal
from domain.saga import (
    AttentionRequest,
    CloseDisputeRequest,
    CloseRefundRequest,
    DisputeState,
    Marked,
    MarkRefundedRequest,
    RefundState,
    RestockRequest,
)
from tests.explorer import refund_oracle
from tests.explorer.faults import AWAY, AWAY_CALLS, ERROR, LATE, LOST, TIMEOUT
from tests.explorer.refund_case import MOST_CALLS, Case, case_key
from tests.explorer.refund_gate import Flow
from tests.explorer.refund_shapes import CHARGED_BACK, RESOLVED

Answer = TypeVar("Answer")

CRASH: Final = "crash"
"""The worker dies when the step has taken effect; another one starts over, with the history that is stored."""
LATE_CRASH: Final = "crash-by-clock"
"""The same in a task that the clock caused: the test server then counts a lock of its clock too many."""
UNTOLD: Final = "untold"
"""Stripe makes the refund, and its answer to the payment service is lost."""
FAULTS: Final = (ERROR, LOST, AWAY, TIMEOUT, LATE)
LOOKS: Final = 3
"""How often something is looked at before Stripe, or the bank, is done with it without a word."""
IN_PAYMENT_SERVICE: Final = frozenset(
    {"carry_out_refund", "replace_refund", "resolve_refund", "close_refund", "check_dispute", "close_dispute"}
)
WAKES: Final = frozenset({"carry_out_refund", "replace_refund", "check_dispute"})
"""Steps after which the service starts and wakes what has news; after the others only a sweep does."""
ENDS_A_TASK: Final = frozenset({"carry_out_refund", "close_refund", "check_dispute", "close_dispute"})
"""Steps that the workflow may wait or end after: what happens at another step's end happens before the next one."""


def away(why: str) -> ApplicationError:
    """Trouble that passes; benign, so that the log stays readable."""
    return ApplicationError(why, type="AWAY", category=ApplicationErrorCategory.BENIGN)


class RefundStepsOfCases:
    """All steps of all cases under way, by the key of the case.

    Args:
        cases: those under way.
        timeout: real seconds after which every time limit of a step is over.
    """

    def __init__(self, cases: Mapping[str, Case], *, timeout: float) -> None:
        self._cases = cases
        self._too_long = timeout

    def activities(self) -> Sequence[Callable[..., Any]]:
        """For a worker."""
        return [
            self.carry_out_refund,
            self.replace_refund,
            self.resolve_refund,
            self.close_refund,
            self.check_dispute,
            self.close_dispute,
            self.mark_refunded,
            self.restock,
            self.attention,
        ]

    @activity.defn(name="carry_out_refund")
    async def carry_out_refund(self, refund_id: str) -> RefundState:
        """See `workflows.steps`."""
        return await self._run("carry_out_refund", lambda case: case.shop.refunds.carry_out_refund(refund_id))

    @activity.defn(name="replace_refund")
    async def replace_refund(self, refund_id: str) -> RefundState:
        """See `workflows.steps`."""
        return await self._run("replace_refund", lambda case: case.shop.refunds.replace_refund(refund_id))

    @activity.defn(name="resolve_refund")
    async def resolve_refund(self, refund_id: str) -> RefundState:
        """See `workflows.steps`."""
        return await self._run("resolve_refund", lambda case: case.shop.refunds.resolve_refund(refund_id))

    @activity.defn(name="close_refund")
    async def close_refund(self, request: CloseRefundRequest) -> bool:
        """See `workflows.steps`."""

        async def close(case: Case) -> bool:
            is_closed = await case.shop.refunds.close_refund(request)
            if is_closed:
                case.breaches.extend(refund_oracle.breaches_at_a_close(case, request.refund_id))
            return is_closed

        return await self._run("close_refund", close)

    @activity.defn(name="check_dispute")
    async def check_dispute(self, dispute_id: str) -> DisputeState:
        """See `workflows.steps`."""
        return await self._run("check_dispute", lambda case: case.shop.disputes.check_dispute(dispute_id))

    @activity.defn(name="close_dispute")
    async def close_dispute(self, request: CloseDisputeRequest) -> bool:
        """See `workflows.steps`."""
        return await self._run("close_dispute", lambda case: case.shop.disputes.close_dispute(request))

    @activity.defn(name="mark_refunded")
    async def mark_refunded(self, request: MarkRefundedRequest) -> Marked:
        """See `workflows.steps`."""
        return await self._run("mark_refunded", lambda case: case.shop.orders.mark_refunded(request))

    @activity.defn(name="restock")
    async def restock(self, request: RestockRequest) -> None:
        """See `workflows.steps`."""

        async def restock(case: Case) -> None:
            case.breaches.extend(refund_oracle.breaches_at_a_restock(case, request.restock_id))
            await case.shop.stock.restock(request)

        await self._run("restock", restock)

    @activity.defn(name="attention")
    async def attention(self, request: AttentionRequest) -> None:
        """See `workflows.steps`; a person who looks at it answers."""
        await self._run("attention", lambda case: case.shop.orders.attention(request), about=request)

    async def _run(
        self, step: str, act: Callable[[Case], Awaitable[Answer]], *, about: AttentionRequest | None = None
    ) -> Answer:
        info = activity.info()
        case = self._cases.get(case_key(info.workflow_id or ""))
        if case is None:
            raise ApplicationError("this case is over", non_retryable=True, type=Refusal.ORDER_NOT_FOUND.value)
        flow = case.gate.flows[info.workflow_id or ""]
        will_be_heard = True
        try:
            async with case.gate.turn(
                flow, is_local=info.is_local, is_beside=about is not None, is_repeat=info.attempt > 1
            ):
                try:
                    kind, answer = await self._run_as_scheduled(case, flow, step, act)
                    if kind in (TIMEOUT, LATE):
                        will_be_heard = info.is_local
                    if about is not None and about.why is not None and answer is not None:
                        await _attend(case, flow, about)
                except ApplicationError as error:
                    will_be_heard = info.is_local or error.non_retryable
                    raise
                finally:
                    flow.coming += will_be_heard
            if kind in (TIMEOUT, LATE):
                await asyncio.sleep(self._too_long)
            if answer is None or kind in (LOST, LATE, TIMEOUT):
                raise away(f"the answer of {step} is lost")
            return answer[0]
        finally:
            case.gate.count(flow, arrived=0, asked=0, woke=False, waits=False)

    async def _run_as_scheduled(
        self, case: Case, flow: Flow, step: str, act: Callable[[Case], Awaitable[Answer]]
    ) -> tuple[str | None, tuple[Answer] | None]:
        """How the call goes wrong, and the answer, if the step took effect."""
        name = f"{flow.name}.{step}"
        if sum(case.calls.values()) > MOST_CALLS:
            if not any("for ever" in breach for breach in case.breaches):
                case.breaches.append(f"goes on for ever: {case.calls.most_common(3)}")
            raise ApplicationError("this case never ends", non_retryable=True, type=Refusal.ORDER_NOT_FOUND.value)
        crash = LATE_CRASH if flow.by_clock else CRASH
        kind = case.called(name, [*FAULTS, crash, *([UNTOLD] if step == "carry_out_refund" else [])])
        if step != "attention":
            await case.arrive(flow, f"{name}.before")
        if kind == AWAY:
            case.away[name] = AWAY_CALLS
        if case.away[name] or kind in (ERROR, TIMEOUT):
            case.away[name] -= case.away[name] > 0
            case.trace.append(f"{name} has no effect")
            if kind == TIMEOUT:
                return kind, None
            raise away(f"{step} is away")
        case.answer_of_stripe_is_lost = kind == UNTOLD
        answer = await self._take_effect(case, name, step, act)
        if kind in (CRASH, LATE_CRASH) and not flow.is_retry:
            case.trace.append("the worker dies")
            flow.dies = True
        if kind in (LOST, LATE):
            case.trace.append("its answer is lost")
        if step in ENDS_A_TASK:
            await case.arrive(flow, f"{name}.after")
        if kind == LOST:
            raise away(f"the answer of {step} is lost")
        return kind, (answer,)

    async def _take_effect(self, case: Case, name: str, step: str, act: Callable[[Case], Awaitable[Answer]]) -> Answer:
        _let_time_tell(case, name, step)
        case.is_inside = step in IN_PAYMENT_SERVICE
        try:
            answer = await act(case)
        except ApplicationError as error:
            case.trace.append(f"{name}/{error.type}")
            raise
        finally:
            case.answer_of_stripe_is_lost = case.is_inside = False
            if case.is_owed_events:
                await case.deliver()
            if step in WAKES:
                await case.follow()
            case.breaches.extend(refund_oracle.breaches_at_stripe(case))
        case.trace.append(f"{name} {_told(answer)}")
        return answer


async def _attend(case: Case, flow: Flow, request: AttentionRequest) -> None:
    """The person who looks at attention: tries a parked step again once, then does its work and says so."""
    step, why = request.step.partition(" ")[0], request.why or ""
    case.verdict, sent = "", flow.coming
    await case.arrive(flow, f"{flow.name}.{step}.attention")
    is_parked = step != "dispute" and not why.startswith("has failed for")
    is_refused = why.startswith("refused: ")
    if not is_parked or (not case.verdict and not is_refused and (flow.coming > sent or "DISPUTED" in why)):
        return  # it goes on by itself, or has been woken: it looks, and asks again if it has to
    case.asked[f"{flow.name}.{step}"] += 1
    again = case.schedule.shape == RESOLVED or case.asked[f"{flow.name}.{step}"] > 1 or "cannot be replaced" in why
    verdict = case.verdict or ("resolve" if again else "retry")
    case.trace.append(f"{flow.name} {verdict}s {step}")
    flow.coming += 1
    with suppress(WorkflowUpdateFailedError, RPCError):
        await case.client.get_workflow_handle(flow.workflow_id).execute_update(verdict)
        if verdict == "resolve":
            case.done_by_hand.add(f"{flow.name}.{step}")
        return
    if verdict == "resolve":  # it cannot be done by hand
        flow.coming += 1
        with suppress(WorkflowUpdateFailedError, RPCError):
            await case.client.get_workflow_handle(flow.workflow_id).execute_update("retry")


def _let_time_tell(case: Case, name: str, step: str) -> None:
    """What Stripe and banks are not done with they are done with in the end, and no event says so."""
    stripe, intent = case.shop.stripe, case.intent
    case.looks[name] += 1
    if case.looks[name] <= LOOKS:
        return
    if step == "carry_out_refund":
        for made in [each for each in intent.refunds if each.status == "pending"]:
            stripe.move_refund(made.id, "succeeded")
    if step == "check_dispute":
        verdict = "lost" if case.schedule.shape == CHARGED_BACK else "won"
        for dispute in intent.disputes:
            if dispute.status in ("needs_response", "under_review", "warning_needs_response"):
                stripe.move_dispute(dispute.id, verdict if dispute.withdrawn else "warning_closed")


def _told(answer: object) -> str:
    """What of a step's answer the workflow can go by."""
    match answer:
        case RefundState() | DisputeState():
            return f"{answer.status} {answer.amount} {answer.version}"
        case Marked():
            return str(answer.status)
        case _:
            return "" if answer is None else str(answer)
