"""Processes the stored events: each makes us catch up with Stripe, and then notifies the order's saga.

An event is only a hint, so that late, doubled and reordered ones do no harm. One of a payment is done once Temporal
took the signal, which it needs unless it is of a cancellation that we asked for; until then it stays and is tried
again. What one of a refund or dispute changes is followed up from there, see `payments.follow_ups`.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from domain.payments import PaymentStatus
from runtime import tracing
from runtime.database import Database
from runtime.due_work import Claimed
from runtime.due_worker import DeadLetter, Record
from runtime.metrics import PROVIDER_EVENTS
from runtime.refusal import Unavailable
from services.payment.disputes.service import DisputeService
from services.payment.order_turns import OrderTurns
from services.payment.payments import decisions
from services.payment.payments.intents import Intents
from services.payment.payments.model import Payment
from services.payment.payments.store import PaymentStore
from services.payment.refunds.service import RefundService
from services.payment.sagas import Sagas
from services.payment.stripe.errors import StripeLookupRefused
from services.payment.stripe.event_types import CHARGE_FAILED, DISPUTE_TYPES, REFUND_TYPES
from services.payment.stripe.gate import Lane, asking_as
from services.payment.tables import EventStatus
from services.payment.webhooks.model import ProviderEvent
from services.payment.webhooks.repository import EventRepository

_UNKNOWN = "no payment has this event's intent"


class EventProcessor:
    """Processes one event at a time.

    Args:
        database: the payment database.
        store: the payments.
        intents: catch up with the payment's intent.
        refunds: catch up with its refunds.
        disputes: catch up with its disputes.
        sagas: the workflows of orders.
        turns: of the orders within this process.
        grace_period: how long an event is tried again before it is FLAGGED whose payment nobody knows, or of which
            Stripe refuses to tell: either may be a matter of moments.
    """

    def __init__(
        self,
        database: Database,
        *,
        store: PaymentStore,
        intents: Intents,
        refunds: RefundService,
        disputes: DisputeService,
        sagas: Sagas,
        turns: OrderTurns,
        grace_period: timedelta,
    ) -> None:
        self._database = database
        self._store = store
        self._intents = intents
        self._refunds = refunds
        self._disputes = disputes
        self._sagas = sagas
        self._turns = turns
        self._grace_period = grace_period
        PROVIDER_EVENTS.labels(EventStatus.FLAGGED.value)  # from 0 on, for the first one to be an increase

    async def process(self, claimed: Claimed[ProviderEvent]) -> Record:
        """Process an event; see `runtime.due_worker.Process`."""
        outcome = EventStatus.RECEIVED
        try:
            with asking_as(Lane.EVENTS):
                note = await self._process(claimed.item)
            outcome = EventStatus.APPLIED
        except DeadLetter:
            outcome = EventStatus.FLAGGED
            raise
        finally:
            PROVIDER_EVENTS.labels(outcome.value).inc()
        return partial(self._record, claimed, note)

    async def _record(self, claimed: Claimed[ProviderEvent], note: str) -> bool:
        async with self._database.autocommit() as connection:
            await EventRepository(connection).finish(claimed, note=note)
        return False

    async def _process(self, event: ProviderEvent) -> str:
        """Do what an event asks for; why there was nothing to do, if so."""
        order_id = event.order_id
        if order_id is None:
            order_id = (await self._find(event)).order_id
        async with self._turns.turn(order_id):
            # Read in the turn, because an event mostly comes while the call is answered that it is about.
            payment = await self._find(event)
            tracing.note_order(payment)
            tracing.link(payment.traceparent)
            if payment.closing and payment.status is PaymentStatus.CANCELLED:
                # The saga that asked for it has the answer; a signal would only make it repeat its last workflow task.
                return "cancelled by our own request"
            try:
                await self._catch_up(payment, event)
            except StripeLookupRefused as refused:
                raise self._in_vain(event, str(refused)) from None
        if not event.type.startswith((REFUND_TYPES, DISPUTE_TYPES)):
            await self._sagas.notify_order(order_id=payment.order_id, event_id=event.event_id)
        return ""

    async def _catch_up(self, payment: Payment, event: ProviderEvent) -> None:
        payment = await self._intents.reread(payment)
        if event.is_failed_authentication:  # no re-read shows it once the customer has tried again
            count = partial(decisions.count_failed_authentication, event_id=event.event_id, at=event.received_at)
            await self._store.change(payment, count)
        elif event.type.startswith(REFUND_TYPES):
            await self._refunds.catch_up(payment)
        elif event.type.startswith(DISPUTE_TYPES):
            await self._disputes.catch_up(payment)
        elif event.type == CHARGE_FAILED and payment.status is PaymentStatus.SUCCEEDED:
            await self._intents.count_failed_charges(payment)

    async def _find(self, event: ProviderEvent) -> Payment:
        """The event's payment.

        Raises:
            Unavailable: nobody knows it yet.
            DeadLetter: nobody has known it for the grace period, or the order's payment has another intent.
        """
        payment = await self._store.find(intent_id=event.intent_id, order_id=event.order_id)
        if payment is None or payment.intent_id is None:
            raise self._in_vain(event, _UNKNOWN)
        if event.intent_id is not None and event.intent_id != payment.intent_id:
            raise DeadLetter(f"the order's payment has another intent, {payment.intent_id}")
        return payment

    def _in_vain(self, event: ProviderEvent, why: str) -> Unavailable | DeadLetter:
        """How the attempt ends at an event that can never be processed as things stand."""
        return Unavailable(why) if event.age < self._grace_period else DeadLetter(why)
