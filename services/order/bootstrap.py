"""Wires the order service from its settings and ports: for the process that runs it, and for every test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final, TypeVar

from temporalio.client import Client

from domain.concerns import ConcernKind
from domain.saga import SagaPolicy
from runtime.backoff import Backoff
from runtime.clock import Clock, utc_now
from runtime.database import Database, open_database
from runtime.database_measuring import database_measurements
from runtime.due_work import DueTable
from runtime.due_worker import DueWorker, Process
from runtime.health import Checks
from runtime.identity import Part
from runtime.listener import Listener
from runtime.loop_lag import LoopLag
from runtime.measuring import Measurement
from runtime.on_call import OnCallServicer
from runtime.retention import DUE_RULES, DueRule, retention_worker
from runtime.settings import Settings
from runtime.task_queue import task_queue_measurement
from runtime.temporal import connect_temporal
from runtime.temporal_namespace import find_problem as find_temporal_problem
from runtime.wakeups import Wakeups
from services.order.admission import Admission, AdmissionLimits
from services.order.attention.desk import Desk
from services.order.attention.looks import Look, OpenCases, OpenOrders
from services.order.attention.part_look import Parts
from services.order.attention.service import AttentionService
from services.order.attention.watcher import DUE_LOOKS, DueLook, watcher
from services.order.attention.workflows import WorkflowReader
from services.order.cancellation_repository import OPEN_REQUESTS
from services.order.cancellation_service import CancellationService
from services.order.customer_limits import CustomerLimits
from services.order.erasure import Erasure
from services.order.guests.model import GuestLinkRequest, GuestOrder
from services.order.guests.repository import DUE_GUESTS, DUE_LINK_REQUESTS
from services.order.guests.service import Guests
from services.order.measuring import read_attention, read_open_orders
from services.order.model import AcceptedOrder, OpenCancellationRequest
from services.order.moves import Moves
from services.order.on_call import OrderOnCall
from services.order.peers import Peers, open_peers
from services.order.repository import ORDERS_CHANNEL, UNSTARTED
from services.order.retention import rules
from services.order.sagas import Sagas, TemporalSagas
from services.order.service import OrderService
from services.order.tables import SCHEMA

Item = TypeVar("Item")

AT_ONCE: Final = 8
"""Sagas that are asked for something at once, of each kind of work."""
_LEASE: Final = timedelta(seconds=30)
"""Several times as long as Temporal is waited for."""
_BACKOFF: Final = Backoff(first=1, longest=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderComponents:
    """What the service is made of.

    Attributes:
        admission: says whether new orders may come in.
        loop_lag: of the process, by which it says so as well.
        moves: tells gateways which orders have moved.
        attention: what needs a person.
        desk: where operators act.
        looks: what the watcher does.
        watcher: sees to it that nothing stands still without somebody called.
        repairs_itself: whether it starts lost sagas again.
        customer_limits: what a customer may have unpaid.
        peers: the other services.
        guests: people who order without an account.
        guest_limits: what one address of guests may have unpaid; None where there are no guests.
        guest_looks: finds out which orders of guests are an account's.
        guest_links: has lost links mailed anew.
        longest_payment_window: that a customer may get, seconds.
        saga_starts: starts the sagas of orders that may have none.
        retention: deletes what is old and no history.
        cancellation_requests: asks sagas again to cancel their orders.
        listener: wakes the requests that wait for an order to move.
        background: what runs beside the server, each until cancelled; nothing else runs by itself.
    """

    database: Database
    sagas: Sagas
    orders: OrderService
    cancellations: CancellationService
    erasure: Erasure
    admission: Admission
    loop_lag: LoopLag
    moves: Moves
    attention: AttentionService
    desk: Desk
    on_call: OrderOnCall
    looks: Mapping[str, Look]
    watcher: DueWorker[DueLook]
    repairs_itself: bool
    customer_limits: CustomerLimits
    peers: Peers
    guests: Guests
    guest_limits: CustomerLimits | None
    guest_looks: DueWorker[GuestOrder]
    guest_links: DueWorker[GuestLinkRequest]
    longest_payment_window: int
    saga_starts: DueWorker[AcceptedOrder]
    retention: DueWorker[DueRule]
    cancellation_requests: DueWorker[OpenCancellationRequest]
    listener: Listener
    background: Sequence[Callable[[], Awaitable[object]]]
    checks: Checks
    measurements: Sequence[Measurement]


@asynccontextmanager
async def bootstrap(
    settings: Settings,
    *,
    database: Database | None = None,
    temporal: Client | None = None,
    sagas: Sagas | None = None,
    peers: Peers | None = None,
    clock: Clock = utc_now,
) -> AsyncIterator[OrderComponents]:
    """The service's components, as long as the context is open.

    Args:
        settings: of the process.
        database: in place of the one that the settings name; whoever gives it closes it.
        temporal: in place of a client for the server that the settings name.
        sagas: in place of the workflows on Temporal.
        peers: in place of the other services that the settings name.
        clock: says when a request came in, and when an order moved.

    Raises:
        SettingsError: a setting is missing.
    """
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database(settings, "order", given=database))
        client = temporal or await connect_temporal(settings, lazy=True)
        sagas = sagas or TemporalSagas(client, task_queue=settings.temporal_task_queue)
        if peers is None:
            peers = await stack.enter_async_context(open_peers(settings))
        yield _components(settings, database, client, sagas, peers, clock)


def _components(
    settings: Settings, database: Database, client: Client, sagas: Sagas, peers: Peers, clock: Clock
) -> OrderComponents:
    policy, wakeups = saga_policy(settings), Wakeups()
    listener = database.listen(ORDERS_CHANNEL, wakeups.wake)
    lag = LoopLag()
    limits = AdmissionLimits(start_delay=settings.max_start_delay, loop_lag=settings.max_loop_lag)
    admission = Admission(database, sagas, lag, limits, clock=clock)
    orders = OrderService(database, sagas, wakeups, policy=policy, clock=clock, admission=admission)
    cancellations = CancellationService(database, orders, sagas, wakeups, clock=clock)
    attention = AttentionService(database, clock=clock)
    desk = Desk(
        attention,
        orders,
        sagas,
        payments=peers.payments,
        notifications=peers.notifications,
        repairs_itself=settings.repair_automatically,
        clock=clock,
    )
    workflows = WorkflowReader(client)
    on_call = OrderOnCall(database, orders, cancellations, attention, workflows)

    def worker(
        name: str, table: DueTable[Item], process: Process[Item], *, concurrency: int = AT_ONCE
    ) -> DueWorker[Item]:
        return DueWorker(
            name,
            database=database,
            table=table,
            process=process,
            concurrency=concurrency,
            lease=_LEASE,
            backoff=_BACKOFF,
            poll=settings.saga_sweep_interval,
        )

    saga_starts = worker("saga_starts", UNSTARTED, orders.start_due, concurrency=settings.saga_starts_in_progress)
    cancellation_requests = worker("cancellation_requests", OPEN_REQUESTS, cancellations.ask_due)
    guests = Guests(
        database,
        orders,
        peers,
        clock=clock,
        on_look_due=lambda: guest_looks.wake(),
        on_link_due=lambda: guest_links.wake(),
    )
    guest_looks = worker("guest_looks", DUE_GUESTS, guests.process_look)
    guest_links = worker("guest_links", DUE_LINK_REQUESTS, guests.process_link_request)
    looks = _looks(settings, database, client, workflows, peers, attention, desk, on_call, clock)
    watch = watcher(
        database,
        looks,
        interval=timedelta(seconds=settings.watch_interval),
        poll=settings.saga_sweep_interval,
    )
    retention = retention_worker("order", database, rules(settings))
    return OrderComponents(
        database=database,
        sagas=sagas,
        orders=orders,
        cancellations=cancellations,
        erasure=Erasure(database),
        admission=admission,
        loop_lag=lag,
        moves=Moves(database, wakeups),
        attention=attention,
        desk=desk,
        on_call=on_call,
        looks=looks,
        watcher=watch,
        repairs_itself=settings.repair_automatically,
        customer_limits=CustomerLimits(orders=settings.max_open_orders, units=settings.max_held_units),
        peers=peers,
        guests=guests,
        guest_limits=CustomerLimits(orders=settings.max_guest_orders, units=settings.max_guest_units)
        if settings.guest_checkout
        else None,
        guest_looks=guest_looks,
        guest_links=guest_links,
        longest_payment_window=settings.max_payment_window,
        saga_starts=saga_starts,
        retention=retention,
        cancellation_requests=cancellation_requests,
        listener=listener,
        background=(
            *(listener.run, lag.run, saga_starts.run, cancellation_requests.run, watch.run),
            *(guest_looks.run, guest_links.run, retention.run),
        ),
        checks=Checks(
            needs={"database": partial(database.find_problem, schema=SCHEMA)},
            uses={"temporal": partial(find_temporal_problem, client)},
        ),
        measurements=[
            *database_measurements(
                "order",
                database,
                due={
                    saga_starts.name: UNSTARTED,
                    cancellation_requests.name: OPEN_REQUESTS,
                    watch.name: DUE_LOOKS,
                    guest_looks.name: DUE_GUESTS,
                    guest_links.name: DUE_LINK_REQUESTS,
                    retention.name: DUE_RULES,
                },
                reads=[read_open_orders, read_attention],
            ),
            task_queue_measurement(client, settings.temporal_task_queue),
        ],
    )


def _looks(
    settings: Settings,
    database: Database,
    client: Client,
    workflows: WorkflowReader,
    peers: Peers,
    attention: AttentionService,
    desk: Desk,
    on_call: OrderOnCall,
    clock: Clock,
) -> Mapping[str, Look]:
    """What the watcher looks at, by the names of its rows."""
    patience = timedelta(seconds=settings.attention_after)

    def cases(kind: ConcernKind) -> Look:
        return OpenCases(kind, peers.payments, workflows, attention, clock=clock)

    return {
        "orders": OpenOrders(
            attention,
            workflows,
            is_processing=peers.is_processing,
            repair=desk.repair_by_itself if settings.repair_automatically else None,
            patience=patience,
            clock=clock,
        ),
        "refunds": cases(ConcernKind.REFUND),
        "disputes": cases(ConcernKind.DISPUTE),
        "parts": Parts(
            attention,
            OnCallServicer(Part.ORDER, database, on_call),
            peers.on_call,
            client,
            task_queue=settings.temporal_task_queue,
            patience=patience,
            clock=clock,
        ),
    }


def saga_policy(settings: Settings) -> SagaPolicy:
    """What of the settings is copied into each workflow's input."""
    return SagaPolicy(
        payment_attempts=settings.payment_attempts,
        attention_after_seconds=settings.attention_after,
        payment_event_patience_seconds=settings.payment_event_timeout,
        acceptance_limit_seconds=settings.acceptance_limit,
    )
