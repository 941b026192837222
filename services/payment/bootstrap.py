"""Wires the payment service from its settings and ports: for the process that runs it, and for every test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

import stripe
from temporalio.client import Client

from ordersaga.order.v1.order_pb2_grpc import OrderServiceStub
from runtime.backoff import Backoff
from runtime.clock import Clock, utc_now
from runtime.database import Database, open_database
from runtime.database_measuring import database_measurements
from runtime.due_worker import DueWorker
from runtime.health import Checks, seldom
from runtime.identity import Part
from runtime.listener import Listener
from runtime.measuring import Measurement
from runtime.on_call import OnCall
from runtime.periodic import repeat
from runtime.retention import DUE_RULES, DueRule, retention_worker
from runtime.rpc_client import open_channels
from runtime.settings import Settings
from runtime.temporal import connect_temporal
from runtime.temporal_namespace import find_problem as find_temporal_problem
from runtime.wakeups import Wakeups
from services.payment.disputes.service import DisputeService
from services.payment.on_call.service import PaymentOnCall
from services.payment.order_turns import OrderTurns
from services.payment.orders import OrderService
from services.payment.payments.client_secrets import ClientSecrets
from services.payment.payments.follow_ups import follow_up_worker
from services.payment.payments.intents import Intents
from services.payment.payments.model import FollowUp
from services.payment.payments.repository import DUE_FOLLOW_UPS, FOLLOW_UPS_CHANNEL
from services.payment.payments.service import PaymentService
from services.payment.payments.store import PaymentStore
from services.payment.refunds.approval_service import ApprovalService
from services.payment.refunds.service import RefundService
from services.payment.retention import rules
from services.payment.sagas import Sagas, TemporalSagas
from services.payment.stripe.client import StripeClient, open_stripe
from services.payment.stripe.copies import INTERVAL, PRESENCE, divide_rate
from services.payment.stripe.measuring import stripe_measurement
from services.payment.tables import SCHEMA
from services.payment.webhooks.desk import EventDesk
from services.payment.webhooks.measuring import read_open_events
from services.payment.webhooks.model import ProviderEvent, SweepMark
from services.payment.webhooks.processing import EventProcessor
from services.payment.webhooks.repository import DUE_EVENTS, DUE_SWEEP
from services.payment.webhooks.service import WebhookService
from services.payment.webhooks.sweep import EventSweep

# Longer than an event takes whose every call of Stripe runs into its limit.
_EVENT_LEASE: Final = timedelta(seconds=45)
_LOOK_AGAIN: Final = 30.0
"""Seconds from one look whether Stripe takes our key to the next."""
_EVENT_BACKOFF: Final = Backoff(first=0.2, longest=60)
_SWEEP_LEASE: Final = timedelta(minutes=5)
"""Longer than the list takes of what is read at once, at the hundred calls a second that Stripe allows an account."""
_SWEEP_BACKOFF: Final = Backoff(first=1, longest=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentComponents:
    """What the service is made of.

    Attributes:
        store: the payments as they are stored.
        webhooks: takes in Stripe's events.
        event_desk: where operators act on events that do not get through.
        sweep: lists Stripe's events, as if each came in by webhook.
        inbox: processes the events that came in.
        refund_follow_ups: starts and notifies the workflows of refunds.
        dispute_follow_ups: likewise of disputes.
        retention: deletes what is old and no history.
        listener: wakes the requests that wait for a refund, and what follows up refunds and disputes.
        background: what runs beside the server, each until cancelled; nothing else runs by itself.
    """

    database: Database
    stripe: StripeClient
    sagas: Sagas
    store: PaymentStore
    payments: PaymentService
    refunds: RefundService
    approvals: ApprovalService
    disputes: DisputeService
    webhooks: WebhookService
    event_desk: EventDesk
    sweep: DueWorker[SweepMark]
    inbox: DueWorker[ProviderEvent]
    refund_follow_ups: DueWorker[FollowUp]
    dispute_follow_ups: DueWorker[FollowUp]
    retention: DueWorker[DueRule]
    on_call: OnCall
    listener: Listener
    background: Sequence[Callable[[], Awaitable[object]]]
    checks: Checks
    measurements: Sequence[Measurement]


@asynccontextmanager
async def bootstrap(
    settings: Settings,
    *,
    database: Database | None = None,
    stripe_http: stripe.HTTPClient | None = None,
    temporal: Client | None = None,
    sagas: Sagas | None = None,
    orders: OrderServiceStub | None = None,
    clock: Clock = utc_now,
) -> AsyncIterator[PaymentComponents]:
    """The service's components, as long as the context is open.

    Args:
        settings: of the process.
        database: in place of the one that the settings name; whoever gives it closes it.
        stripe_http: sends the requests to Stripe in place of a client of our own; whoever gives it closes it.
        temporal: in place of a client for the server that the settings name.
        sagas: in place of the workflows on Temporal.
        orders: in place of the order service that the settings name.
        clock: says when something happened, how old a signature is, and how old a key at Stripe.

    Raises:
        SettingsError: a setting is missing, or there is no certificate.
    """
    settings.required("stripe_webhook_secret")
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(open_database(settings, "payment", given=database))
        client = await stack.enter_async_context(open_stripe(settings, http_client=stripe_http))
        temporal = temporal or await connect_temporal(settings, lazy=True)
        if sagas is None:
            if orders is None:
                channels = await stack.enter_async_context(open_channels(settings, Part.PAYMENT, Part.ORDER))
                orders = OrderServiceStub(channels[Part.ORDER])
            sagas = TemporalSagas(
                temporal,
                task_queue=settings.temporal_task_queue,
                attention_after=settings.attention_after,
                orders=OrderService(orders),
            )
        checks = Checks(
            needs={"database": partial(opened.find_problem, schema=SCHEMA)},
            uses={
                "temporal": partial(find_temporal_problem, temporal),
                "stripe": seldom(client.find_problem, interval=_LOOK_AGAIN),
            },
        )
        yield _wire(settings, opened, client, sagas, clock, checks)


def _wire(
    settings: Settings,
    database: Database,
    client: StripeClient,
    sagas: Sagas,
    clock: Clock,
    checks: Checks,
) -> PaymentComponents:
    turns, wakeups = OrderTurns(), Wakeups()
    store = PaymentStore(database, clock)
    secrets = ClientSecrets(settings.required("stripe_api_key"))
    intents = Intents(store, client, secrets, clock)
    disputes = DisputeService(store, client, turns)
    approvals = ApprovalService(store, clock=clock, limit=settings.refund_approval_limit)
    refunds = RefundService(
        store,
        disputes,
        approvals,
        client,
        turns=turns,
        wakeups=wakeups,
        clock=clock,
        support_limit=settings.support_refund_limit,
    )
    inbox = DueWorker(
        "provider_events",
        database=database,
        table=DUE_EVENTS,
        process=EventProcessor(
            database,
            store=store,
            intents=intents,
            refunds=refunds,
            disputes=disputes,
            sagas=sagas,
            turns=turns,
            grace_period=timedelta(seconds=settings.unknown_event_grace_period),
        ).process,
        concurrency=settings.provider_events_in_progress,
        lease=_EVENT_LEASE,
        backoff=_EVENT_BACKOFF,
    )
    webhooks = WebhookService(
        database,
        secrets=settings.stripe_webhook_secrets,
        livemode=client.livemode,
        app=settings.stripe_app,
        inbox=inbox,
        clock=clock,
    )
    sweep = DueWorker(
        "stripe_events",
        database=database,
        table=DUE_SWEEP,
        process=EventSweep(
            database, client, webhooks, interval=timedelta(seconds=settings.stripe_sweep_interval)
        ).process,
        concurrency=1,
        lease=_SWEEP_LEASE,
        backoff=_SWEEP_BACKOFF,
        poll=min(settings.saga_sweep_interval, settings.stripe_sweep_interval),
    )
    refund_follow_ups, dispute_follow_ups = _follow_ups(settings, database, sagas)

    def wake(subject_id: str) -> None:
        wakeups.wake(subject_id)
        refund_follow_ups.wake()
        dispute_follow_ups.wake()

    listener = Listener(database.dsn, channel=FOLLOW_UPS_CHANNEL, on_wake=wake, presence=PRESENCE)
    retention = retention_worker("payment", database, rules(settings))
    return PaymentComponents(
        database=database,
        stripe=client,
        sagas=sagas,
        store=store,
        payments=PaymentService(store, intents, client, secrets, turns=turns, clock=clock),
        refunds=refunds,
        approvals=approvals,
        disputes=disputes,
        webhooks=webhooks,
        event_desk=EventDesk(database, on_due=inbox.wake),
        sweep=sweep,
        inbox=inbox,
        refund_follow_ups=refund_follow_ups,
        dispute_follow_ups=dispute_follow_ups,
        retention=retention,
        on_call=PaymentOnCall(database),
        listener=listener,
        checks=checks,
        measurements=[
            *database_measurements(
                "payment",
                database,
                due={
                    inbox.name: DUE_EVENTS,
                    sweep.name: DUE_SWEEP,
                    refund_follow_ups.name: DUE_FOLLOW_UPS["refunds"],
                    dispute_follow_ups.name: DUE_FOLLOW_UPS["disputes"],
                    retention.name: DUE_RULES,
                },
                reads=[read_open_events],
            ),
            stripe_measurement(client.gate),
        ],
        background=(
            listener.run,
            inbox.run,
            refund_follow_ups.run,
            dispute_follow_ups.run,
            sweep.run,
            partial(repeat, partial(divide_rate, database, client.gate), interval=INTERVAL, name="stripe_rate"),
            retention.run,
        ),
    )


def _follow_ups(
    settings: Settings, database: Database, sagas: Sagas
) -> tuple[DueWorker[FollowUp], DueWorker[FollowUp]]:
    async def ensure_refund_saga(refund: FollowUp) -> None:
        await sagas.ensure_refund_saga(refund_id=refund.id, order_id=refund.order_id, changed=refund.changed)

    async def ensure_dispute_case(dispute: FollowUp) -> None:
        await sagas.ensure_dispute_case(dispute_id=dispute.id, order_id=dispute.order_id, changed=dispute.changed)

    return (
        follow_up_worker("refunds", database, ensure_refund_saga, poll=settings.saga_sweep_interval),
        follow_up_worker("disputes", database, ensure_dispute_case, poll=settings.saga_sweep_interval),
    )
