"""What operators do about what needs a person. Each action is kept, with who did it, why, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from domain.concerns import DISPUTE_STEP, WORKFLOW_STEP, ConcernKind
from domain.ids import is_id
from domain.saga import dispute_workflow_id, order_workflow_id, refund_workflow_id
from ordersaga.notification.v1 import notification_pb2 as notification_pb
from ordersaga.notification.v1.notification_pb2_grpc import NotificationServiceStub
from ordersaga.payment.v1 import payment_pb2 as payment_pb
from ordersaga.payment.v1.payment_pb2_grpc import PaymentServiceStub
from runtime.caller import SERVICE
from runtime.clock import Clock
from runtime.refusal import CallRefused
from runtime.rpc_client import call
from services.order.attention.model import WATCHER, Action, OpenConcern
from services.order.attention.service import AttentionService
from services.order.errors import NothingToDecide, OrderNotFound
from services.order.sagas import Outcome, Sagas
from services.order.service import OrderService

_DEADLINE: Final = 8.0
"""Of a call to another service, seconds: it waits a little for what comes of it."""
_WORKFLOW_IDS: Final = {
    ConcernKind.ORDER: order_workflow_id,
    ConcernKind.REFUND: refund_workflow_id,
    ConcernKind.DISPUTE: dispute_workflow_id,
}
_EVENT_PREFIX: Final = "evt_"
"""Of the ids of Stripe's events."""
_MISSING: Final = "its workflow is gone: a payment event was to wake it, and waits"
_AUTOMATIC: Final = "its workflow was lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What an action is about."""

    kind: ConcernKind
    id: str
    order_id: str | None


class Desk:
    """Where operators act; every action may be repeated.

    Args:
        attention: the list of concerns, and where actions are kept.
        orders: the orders.
        sagas: their workflows, and those of refunds and disputes.
        payments: for events of Stripe's.
        notifications: for mails.
        repairs_itself: whether a lost saga is started again without an operator.
        clock: says when something was done.
    """

    def __init__(
        self,
        attention: AttentionService,
        orders: OrderService,
        sagas: Sagas,
        *,
        payments: PaymentServiceStub,
        notifications: NotificationServiceStub,
        repairs_itself: bool,
        clock: Clock,
    ) -> None:
        self._attention = attention
        self._orders = orders
        self._sagas = sagas
        self._payments = payments
        self._notifications = notifications
        self._repairs_itself = repairs_itself
        self._clock = clock

    async def retry(self, subject_id: str, *, actor: str, note: str) -> Outcome:
        """Let what stands still run again at once, and say what came of it.

        Raises:
            NothingToDecide: nothing of it stands still, or there is no such thing.
            Unavailable: whether it took effect is not known; repeat.
        """
        subject = await self._find(subject_id)
        match subject.kind:
            case ConcernKind.EVENT:
                answer = await self._ask_about_event(subject)
                outcome = Outcome(text=answer.outcome, succeeded=answer.done)
            case ConcernKind.MAIL:
                sent = await self._ask_about_mail(subject)
                outcome = Outcome(text=sent.outcome, succeeded=sent.done)
            case _:
                outcome = await self._sagas.retry(_workflow_id(subject), actor=actor, note=note)
        await self._keep("retry", subject, actor=actor, note=note, outcome=outcome.text)
        return outcome

    async def resolve(self, subject_id: str, *, actor: str, note: str) -> Outcome:
        """Let what stands still go on without: a person did its work by hand.

        Raises:
            NothingToDecide: nothing of it stands still that can be done by hand, or there is no such thing.
            Unavailable: whether it took effect is not known; repeat.
        """
        subject, kept = await self._find(subject_id), f"{actor}: {note}" if note else actor
        try:
            match subject.kind:
                case ConcernKind.EVENT:
                    dismiss_event = payment_pb.DismissEventRequest(event_id=subject.id, note=kept)
                    await call(self._payments.DismissEvent, dismiss_event, caller=SERVICE, deadline=_DEADLINE)
                    outcome = Outcome(text="the event is left alone", succeeded=True)
                case ConcernKind.MAIL:
                    dismiss = notification_pb.DismissNotificationRequest(notification_id=subject.id, note=kept)
                    await call(self._notifications.DismissNotification, dismiss, caller=SERVICE, deadline=_DEADLINE)
                    outcome = Outcome(text="the mail is left alone", succeeded=True)
                case _:
                    outcome = await self._sagas.resolve(_workflow_id(subject), actor=actor, note=note)
        except CallRefused as refused:
            raise NothingToDecide(subject.id, refused.message) from None
        if subject.kind in (ConcernKind.EVENT, ConcernKind.MAIL):
            await self._attention.clear(kind=subject.kind, subject_id=subject.id, step=None, cleared_by=actor)
        await self._keep("resolve", subject, actor=actor, note=note, outcome=outcome.text)
        return outcome

    async def repair(self, order_id: str, *, actor: str, note: str) -> bool:
        """Start the order's saga again whose workflow is gone; false when it runs, or there is nothing to repair.

        Raises:
            OrderNotFound: there is no such order.
            Unavailable: whether it started is not known; repeat.
        """
        started = await self._orders.restart(order_id)
        await self._attention.clear(kind=ConcernKind.ORDER, subject_id=order_id, step=WORKFLOW_STEP, cleared_by=actor)
        if started:
            subject = Subject(kind=ConcernKind.ORDER, id=order_id, order_id=order_id)
            await self._keep("repair", subject, actor=actor, note=note, outcome="its saga runs again")
        return started

    async def repair_by_itself(self, order_id: str) -> None:
        """The same by the watcher, where the settings let it."""
        await self.repair(order_id, actor=WATCHER, note=_AUTOMATIC)

    async def report_missing(self, order_id: str) -> bool:
        """Whether the order is open, whose saga was to be woken and is not there; if so, somebody is called.

        Raises:
            Unavailable: it is not known; repeat.
        """
        if not await self._orders.is_open(order_id):
            return False
        if self._repairs_itself:
            await self.repair_by_itself(order_id)
        else:
            await self._attention.raise_for_step(
                kind=ConcernKind.ORDER,
                subject_id=order_id,
                order_id=order_id,
                step=WORKFLOW_STEP,
                cause=_MISSING,
                raised_by=WATCHER,
            )
        return True

    async def _find(self, subject_id: str) -> Subject:
        """What the id stands for: something that needs a person, or else an order.

        Raises:
            NothingToDecide: there is no such thing.
        """
        if subject_id.startswith(_EVENT_PREFIX):
            return Subject(kind=ConcernKind.EVENT, id=subject_id, order_id=None)
        of_it = [each for each in await self._attention.find_of_subject(subject_id) if each.subject_id == subject_id]
        if of_it:
            first = of_it[0]
            _check_decidable(first)
            return Subject(kind=first.kind, id=subject_id, order_id=first.order_id)
        try:
            if not is_id(subject_id):
                raise OrderNotFound(subject_id)
            await self._orders.get(subject_id, caller=SERVICE)
        except OrderNotFound:
            raise NothingToDecide(subject_id, "nothing of this id needs a person, and no order has it") from None
        return Subject(kind=ConcernKind.ORDER, id=subject_id, order_id=subject_id)

    async def _ask_about_event(self, subject: Subject) -> payment_pb.RetryEventResponse:
        request = payment_pb.RetryEventRequest(event_id=subject.id)
        try:
            return await call(self._payments.RetryEvent, request, caller=SERVICE, deadline=_DEADLINE)
        except CallRefused as refused:
            raise NothingToDecide(subject.id, refused.message) from None

    async def _ask_about_mail(self, subject: Subject) -> notification_pb.RetryNotificationResponse:
        request = notification_pb.RetryNotificationRequest(notification_id=subject.id)
        try:
            return await call(self._notifications.RetryNotification, request, caller=SERVICE, deadline=_DEADLINE)
        except CallRefused as refused:
            raise NothingToDecide(subject.id, refused.message) from None

    async def _keep(self, action: str, subject: Subject, *, actor: str, note: str, outcome: str) -> None:
        await self._attention.keep_action(
            Action(
                at=self._clock(),
                actor=actor,
                action=action,
                kind=subject.kind,
                subject_id=subject.id,
                order_id=subject.order_id,
                note=note,
                outcome=outcome,
            )
        )


def _workflow_id(subject: Subject) -> str:
    return _WORKFLOW_IDS[subject.kind](subject.id)


def _check_decidable(concern: OpenConcern) -> None:
    """See that an action on it can change something.

    Raises:
        NothingToDecide: it is a part, which is mended where it runs; an order without a workflow; or a dispute, which
            the bank decides.
    """
    if concern.kind is ConcernKind.DISPUTE and concern.step == DISPUTE_STEP:
        raise NothingToDecide(concern.subject_id, "the bank decides about it: respond in Stripe's dashboard")
    if concern.kind is ConcernKind.PART:
        raise NothingToDecide(
            concern.subject_id, f"it goes on when it is mended: ordersaga doctor {concern.subject_id}"
        )
    if concern.kind is ConcernKind.ORDER and concern.step == WORKFLOW_STEP:
        raise NothingToDecide(
            concern.subject_id, f"its workflow is gone: ordersaga repair {concern.subject_id} starts it again"
        )
