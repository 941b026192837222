"""Wires the payment service from its settings and ports: for the process that runs it, and for every test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import stripe
from temporalio.client import Client

from runtime.database import Database, open_database
from runtime.listener import Listener
from runtime.settings import Settings
from runtime.temporal import connect_temporal
from runtime.wakeups import Wakeups
from services.payment.dispute_ledger import DisputeLedger
from services.payment.dispute_service import DisputeService
from services.payment.disputes import Disputes
from services.payment.follow_ups import FollowUps
from services.payment.inbox import Inbox
from services.payment.intake import EventIntake
from services.payment.ledger import PaymentLedger
from services.payment.refund_ledger import RefundLedger
from services.payment.refund_service import RefundService
from services.payment.refunds import Refunds
from services.payment.repository import REFUNDS_CHANNEL
from services.payment.sagas import Sagas, TemporalSagas
from services.payment.service import PaymentService
from services.payment.stripe_client import StripeClient
from services.payment.sweep import Sweep


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentComponents:
    """What the service is made of.

    Attributes:
        webhooks: stores Stripe's events.
        inbox: processes the stored events.
        sweep: lists Stripe's events into the inbox.
        follow_ups: starts and wakes the workflows of refunds and disputes.
        listener: wakes the requests that wait for a refund.
        background: what runs beside the server, each until cancelled; nothing else runs by itself.
    """

    database: Database
    stripe: StripeClient
    sagas: Sagas
    payments: PaymentService
    refunds: RefundService
    disputes: DisputeService
    webhooks: EventIntake
    inbox: Inbox
    sweep: Sweep
    follow_ups: FollowUps
    listener: Listener
    background: Sequence[Callable[[], Awaitable[object]]]


@asynccontextmanager
async def bootstrap(
    settings: Settings,
    *,
    database: Database | None = None,
    stripe_http: stripe.HTTPClient | None = None,
    temporal: Client | None = None,
    sagas: Sagas | None = None,
) -> AsyncIterator[PaymentComponents]:
    """The service's components, as long as the context is open.

    Args:
        settings: of the process.
        database: in place of the one that the settings name; whoever gives it closes it.
        stripe_http: sends the requests to Stripe in place of a client of our own; whoever gives it closes it.
        temporal: in place of a client for the server that the settings name.
        sagas: in place of the workflows on Temporal.

    Raises:
        SettingsError: a setting is missing.
    """
    settings.required("stripe_webhook_secret")
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database(settings, "payment", given=database))
        client = StripeClient(
            api_key=settings.required("stripe_api_key"),
            api_base=settings.stripe_api_base,
            timeout=settings.stripe_timeout,
            payment_method_types=settings.stripe_payment_method_types,
            http_client=stripe_http,
        )
        if stripe_http is None:
            stack.push_async_callback(client.close)
        if sagas is None:
            sagas = TemporalSagas(
                temporal or await connect_temporal(settings),
                task_queue=settings.temporal_task_queue,
                attention_after=settings.attention_after,
            )
        yield _components(settings, database, client, sagas)


def _components(settings: Settings, database: Database, client: StripeClient, sagas: Sagas) -> PaymentComponents:
    wakeups = Wakeups()
    listener = database.listen(REFUNDS_CHANNEL, wakeups.wake)
    payment_ledger, refund_ledger = PaymentLedger(database), RefundLedger(database)
    dispute_ledger = DisputeLedger(database)
    follow_ups = FollowUps(database, sagas)
    disputes = Disputes(payment_ledger, dispute_ledger, client)
    refunds = Refunds(payment_ledger, refund_ledger, disputes, client)
    payments = PaymentService(payment_ledger, client, refunds=refunds, disputes=disputes, follow_ups=follow_ups)
    inbox = Inbox(
        database,
        payments,
        sagas,
        patience=timedelta(seconds=settings.unknown_event_grace_period),
        concurrency=settings.provider_events_in_progress,
    )
    webhooks = EventIntake(
        database, secrets=settings.stripe_webhook_secrets, livemode=client.livemode, on_stored=inbox.wake
    )
    sweep = Sweep(database, client, webhooks)
    return PaymentComponents(
        database=database,
        stripe=client,
        sagas=sagas,
        payments=payments,
        refunds=RefundService(payment_ledger, refund_ledger, refunds, follow_ups, wakeups),
        disputes=DisputeService(dispute_ledger, disputes, follow_ups),
        webhooks=webhooks,
        inbox=inbox,
        sweep=sweep,
        follow_ups=follow_ups,
        listener=listener,
        background=(
            listener.run,
            inbox.run,
            partial(sweep.run, interval=settings.stripe_sweep_interval),
            partial(follow_ups.run, interval=settings.saga_sweep_interval),
        ),
    )
