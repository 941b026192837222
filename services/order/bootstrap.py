"""Wires the order service from its settings and ports: for the process that runs it, and for every test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from temporalio.client import Client

from domain.saga import SagaPolicy
from runtime.clock import Clock, utc_now
from runtime.database import Database, Listener
from runtime.settings import Settings
from runtime.temporal import connect_temporal
from runtime.wakeups import Wakeups
from services.order.cancelling import CancelService
from services.order.lost_runs import LostRuns
from services.order.repository import ORDERS_CHANNEL
from services.order.sagas import Sagas, SagaSweep, TemporalSagas
from services.order.service import OrderService


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderComponents:
    """What the service is made of.

    Attributes:
        background: what runs beside the server, each until cancelled.
    """

    database: Database
    sagas: Sagas
    orders: OrderService
    cancellations: CancelService
    background: Sequence[Callable[[], Awaitable[object]]]


@asynccontextmanager
async def bootstrap(
    settings: Settings,
    *,
    database: Database | None = None,
    temporal: Client | None = None,
    sagas: Sagas | None = None,
    clock: Clock = utc_now,
) -> AsyncIterator[OrderComponents]:
    """The service's components, as long as the context is open; requests are woken as soon as their orders move.

    Args:
        settings: of the process.
        database: in place of the one that the settings name; whoever gives it closes it.
        temporal: in place of a client for the server that the settings name.
        sagas: in place of the workflows on Temporal.
        clock: says when something came about.

    Raises:
        SettingsError: a setting is missing.
    """
    own = database or Database(settings.required("order_dsn"), pool_size=settings.database_pool_size)
    client = temporal or await connect_temporal(settings)
    sagas = sagas or TemporalSagas(client, task_queue=settings.temporal_task_queue)
    policy, interval = saga_policy(settings), settings.saga_sweep_interval
    wakeups = Wakeups()
    orders = OrderService(own, sagas, wakeups, policy=policy, clock=clock)
    sweep = SagaSweep(own, sagas, policy=policy, interval=interval)
    lost_runs = LostRuns(own, orders, client, interval=interval)
    try:
        async with Listener(own.dsn, channel=ORDERS_CHANNEL, on_wake=wakeups.wake):
            yield OrderComponents(
                database=own,
                sagas=sagas,
                orders=orders,
                cancellations=CancelService(own, orders, sagas, wakeups),
                background=(sweep.run, lost_runs.run),
            )
    finally:
        if database is None:
            await own.close()


def saga_policy(settings: Settings) -> SagaPolicy:
    """What of the settings is copied into each workflow's input."""
    return SagaPolicy(
        payment_attempts=settings.payment_attempts,
        attention_after_seconds=settings.attention_after,
        payment_event_patience_seconds=settings.payment_event_timeout,
    )
