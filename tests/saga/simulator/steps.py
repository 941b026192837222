"""The steps of the sagas as activities: each finds its case, lets happen what the schedule says, and does its work.

What goes wrong with a step's call goes wrong as in production: the errors of a call that fails are those of a service
that is away or refuses, mapped by the activities' own code.
"""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, NoReturn

import grpc
import grpc.aio
from grpc_status import rpc_status
from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ActivityError, ApplicationError, TimeoutType
from temporalio.exceptions import TimeoutError as ActivityTimeout

from activities.calling import call_service
from domain.orders import OrderStatus
from domain.refusals import Refusal
from domain.saga import AttentionRequest, DisputeState, Marked, PaymentState, RefundState
from runtime.refusal import Refused, to_status
from runtime.rpc_client import ServiceUnavailable
from tests.saga.simulator import background, faults, oracle, person, stripe_calls, time_skipping
from tests.saga.simulator.case import MOST_CALLS, Case
from tests.saga.simulator.events import Where
from tests.saga.simulator.stripe_calls import STEP_UNDER_WAY
from tests.saga.simulator.turns import Flow

ATTENTION: Final = "attention"
PAYMENT_STEPS: Final = frozenset(
    {
        *("open_payment", "check_payment", "close_payment", "void_payment"),
        *("carry_out_refund", "replace_refund", "resolve_refund", "close_refund", "check_dispute", "close_dispute"),
    }
)
"""Steps of the payment service, which follows up what they change."""
PASSES: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})
"""How calls fail because a service is away or slow; any other failure is a defect of the service."""


class Steps:
    """All steps of all cases under way.

    Args:
        client: of the server that runs the workflows.
        cases: those under way, by the ids of their workflows.
    """

    def __init__(self, client: Client, cases: Mapping[str, Case]) -> None:
        self._client = client
        self._cases = cases

    def activities(self, samples: Mapping[str, Callable[..., Any]]) -> Sequence[Callable[..., Any]]:
        """For a worker.

        Args:
            samples: the activities of any installation, by name.
        """
        return [self._wrap(name, sample) for name, sample in samples.items()]

    def _wrap(self, name: str, sample: Callable[..., Any]) -> Callable[..., Any]:
        @activity.defn(name=name)
        @functools.wraps(sample, updated=())
        async def step(request: Any) -> Any:
            return await self._run(name, request)

        return step

    async def _run(self, step: str, request: Any) -> Any:
        info = activity.info()
        case = self._cases.get(info.workflow_id or "")
        if case is None:
            await time_skipping.release_lock(self._client)  # of a report that nobody takes any more
            raise ApplicationError("this case is over", non_retryable=True, type=Refusal.ORDER_NOT_FOUND.value)
        flow = case.flow_of(info.workflow_id or "")
        if sum(case.effects.values()) > MOST_CALLS:
            await _end_what_never_does(case, flow)
        cancelling, handle = case.cancelling_of(flow), case.handle(flow)
        await cancelling.begin_step(handle)
        try:
            async with case.turns.step(
                flow, is_local=info.is_local, is_beside=step == ATTENTION, is_repeat=info.attempt > 1
            ):
                return await _run_in_turn(case, flow, StepCall(case, flow, step, request, is_local=info.is_local))
        finally:
            if not info.is_local:
                closes = await cancelling.closes_before_end_of(info.activity_id, handle)
                if closes or not flow.is_open:
                    await time_skipping.release_lock(self._client)


async def _run_in_turn(case: Case, flow: Flow, call: StepCall) -> Any:
    will_be_heard = True
    try:
        return await call.run()
    except ApplicationError as error:
        will_be_heard = call.is_local or error.non_retryable
        raise
    except (ServiceUnavailable, ActivityError) as error:
        will_be_heard = call.is_local
        if isinstance(error, ServiceUnavailable) and error.code not in PASSES:
            case.breaches.append(f"{call.name} fails in the service: {error}")
        raise
    except Exception as error:  # a defect of the simulator
        case.breaches.append(f"{call.name} fails: {error!r} at {_origin(error)}")
        raise ApplicationError(str(error), non_retryable=True, type=Refusal.ORDER_NOT_FOUND.value) from error
    finally:
        if will_be_heard:
            case.turns.expect(flow)


def _origin(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}"


async def _end_what_never_does(case: Case, flow: Flow) -> NoReturn:
    if not case.is_endless:
        case.is_endless = True
        await case.give_up(f"goes on for ever: {case.effects.most_common(3)}", flow)
    raise ApplicationError("this case never ends", non_retryable=True, type=Refusal.ORDER_NOT_FOUND.value)


@dataclass(slots=True, eq=False)
class StepCall:
    """One call of a step."""

    case: Case
    flow: Flow
    step: str
    request: Any
    is_local: bool

    @property
    def name(self) -> str:
        """As schedules call the step."""
        return self.flow.prefixed(self.step)

    async def run(self) -> Any:
        """Let happen what is scheduled, and carry the step out."""
        if self.step == ATTENTION and not self.flow.name:
            return await self._attention(None)
        of_an_order = not self.flow.name
        kind = self.case.called(self.name, faults.faults_of(self.step, of_an_order=of_an_order))
        if self.step == ATTENTION:
            return await self._attention(kind)
        self.case.requests.setdefault(self.step, self.request)
        await self.case.arrive(f"{self.name}.before", Where.BEFORE, self.flow)
        await self._fail_before(kind)
        answer = await self._take_effect()
        if kind in faults.NO_ANSWER:
            self.case.trace.append("its answer is lost")
        await self.case.arrive(f"{self.name}.after", Where.AFTER, self.flow, is_followed_at_once=self.is_local)
        await _lose(kind)
        return answer

    async def before_stripe_call(self, call: str) -> str | None:
        """See `stripe_calls`."""
        name = f"{self.name}.{call}"
        kind = self.case.called(name, stripe_calls.faults_of(call))
        if call == "create_refund":
            self.case.breaches.extend(await oracle.breaches_at_a_refund(self.case))
        await self.case.arrive(f"{name}.before", Where.INSIDE, self.flow)
        if kind is not None:
            self.case.trace.append(f"{name}:{kind}")
        return kind

    async def after_stripe_call(self, call: str, outcome: str) -> None:
        """See `stripe_calls`."""
        name = f"{self.name}.{call}"
        self.case.trace.append(f"{call} {outcome}")
        await self.case.arrive(f"{name}.after", Where.INSIDE, self.flow, is_followed_at_once=True)

    async def _attention(self, kind: str | None) -> None:
        await self._fail_before(kind)
        await self._take_effect()
        request: AttentionRequest = self.request
        if request.why is not None and kind not in faults.NO_ANSWER:
            step, _, _ = request.step.partition(" ")
            signals = self.flow.signals
            await self.case.arrive(f"{self.flow.prefixed(step)}.attention", Where.ATTENTION, self.flow)
            is_woken = self.flow.signals > signals
            await person.attend(self.case, self.flow, step=step, note=request.why, is_woken=is_woken)
        await _lose(kind)

    async def _fail_before(self, kind: str | None) -> None:
        case = self.case
        if kind == faults.AWAY:
            case.away[self.name] = faults.AWAY_CALLS
        if kind is not None and kind.startswith(faults.BAR):
            case.barred[self.name] = kind.removeprefix(faults.BAR)
        if case.away[self.name] or kind in (faults.ERROR, faults.TIMEOUT):
            case.away[self.name] -= case.away[self.name] > 0
            case.trace.append(f"{self.name} has no effect")
            await (_time_out() if kind == faults.TIMEOUT else _fail(grpc.StatusCode.UNAVAILABLE))
        refusal = case.barred.get(self.name)
        if kind is not None and kind.startswith(faults.REFUSE):
            refusal = kind.removeprefix(faults.REFUSE)
        if refusal is not None:
            case.trace.append(f"{self.name}/{refusal}")
            await _refuse(Refusal(refusal))

    async def _take_effect(self) -> Any:
        case = self.case
        if self.step == "restock":
            case.breaches.extend(await oracle.breaches_at_a_restock(case, self.request.restock_id))
        person.let_time_decide(case, self.flow, self.step)
        token = STEP_UNDER_WAY.set(self)
        try:
            answer = await case.slot.installation.steps[self.step](self.request)
        except ApplicationError as error:
            case.trace.append(f"{self.name}/{error.type}")
            raise
        except Exception:
            case.trace.append(f"{self.name}/not yet")
            raise
        finally:
            STEP_UNDER_WAY.reset(token)
            case.effects[self.name] += 1
            await self._see_effect()
        case.trace.append(f"{self.name} {_in_a_word(answer)}")
        if isinstance(answer, Marked) and self.step == "mark" and not OrderStatus(answer.status).is_open:
            case.breaches.extend(await oracle.breaches_at_a_close(case))
        if self.step == "close_refund" and answer:
            case.breaches.extend(await oracle.breaches_at_a_refunds_close(case, self.request.refund_id))
        return answer

    async def _see_effect(self) -> None:
        if self.step in PAYMENT_STEPS and self.case.has_money:
            await background.follow_up(self.case.slot)
        if self.case.was_delivered_inside:
            self.case.was_delivered_inside = False
            if await background.have_events_to_process(self.case.slot):
                await self.case.deliver()
        if self.flow.name:
            self.case.breaches.extend(await oracle.breaches_of_refunds(self.case))


class _AsScheduled(Refused):
    refusal: ClassVar[Refusal]


async def _refuse(refusal: Refusal) -> NoReturn:
    """Fail as a call does that a service refuses."""
    kind = type("AsScheduled", (_AsScheduled,), {"refusal": refusal})
    status = rpc_status.to_status(to_status(kind("as scheduled")))
    await _fail(status.code, grpc.aio.Metadata(*(status.trailing_metadata or ())))


async def _lose(kind: str | None) -> None:
    """Fail as a call does whose answer does not come."""
    if kind == faults.LOST:
        await _fail(grpc.StatusCode.UNAVAILABLE)
    if kind == faults.LATE:
        await _time_out()


async def _fail(code: grpc.StatusCode, trailing: grpc.aio.Metadata | None = None) -> NoReturn:
    async def method(request: None, **_: object) -> NoReturn:
        raise grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing or grpc.aio.Metadata(), details="as scheduled")

    await call_service(method, None)  # type: ignore[arg-type]  # as much of a method as is called
    raise AssertionError("it fails")


async def _time_out() -> NoReturn:
    """Fail as an activity does whose time is over, without the time: this is what a workflow sees of a local one.

    The server tries any other one again, as after any error.
    """
    info = activity.info()
    if not info.is_local:
        await _fail(grpc.StatusCode.DEADLINE_EXCEEDED)
    error = ActivityError(
        "activity timed out",
        scheduled_event_id=0,
        started_event_id=0,
        identity="",
        activity_type=info.activity_type,
        activity_id=info.activity_id,
        retry_state=None,
    )
    raise error from ActivityTimeout("as scheduled", type=TimeoutType.START_TO_CLOSE, last_heartbeat_details=[])


def _in_a_word(answer: object) -> str:
    """What of a step's answer the workflow can go by."""
    match answer:
        case PaymentState():
            return f"{answer.status} {answer.amount_received} {answer.failed_attempts}"
        case Marked():
            return f"{answer.status} {answer.reason or ''}"
        case RefundState() | DisputeState():
            return f"{answer.status} {answer.amount} {answer.version}"
        case bool():
            return str(answer)
        case _:
            return ""
