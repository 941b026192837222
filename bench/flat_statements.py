"""What is done again and again whatever anybody asks for: the statements of the watcher, sweeps, relays and gauges."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, get_args

import psycopg

from domain.concerns import ConcernKind
from domain.ids import new_id
from ordersaga.events.v1.order_events_pb2 import OrderTransitioned
from runtime.database import Connection
from runtime.due_work import DueTable
from runtime.outbox import find_backlog
from runtime.retention import DUE_RULES
from runtime.statement_counts import StatementCounts
from services.notification.dead_letters.repository import DeadLetterRepository
from services.notification.model import OrderEvent, Template
from services.notification.repository import DUE_NOTIFICATIONS, NotificationRepository
from services.order.attention.repository import AttentionRepository
from services.order.attention.watcher import DUE_LOOKS
from services.order.cancellation_repository import OPEN_REQUESTS
from services.order.guests.repository import DUE_GUESTS, DUE_LINK_REQUESTS
from services.order.measuring import read_attention, read_open_orders
from services.order.repository import UNSTARTED
from services.payment.on_call.repository import OnCallRepository
from services.payment.payments.repository import DUE_FOLLOW_UPS, FollowedTable, PaymentRepository
from services.payment.webhooks.measuring import read_open_events
from services.payment.webhooks.repository import DUE_EVENTS, DUE_SWEEP
from services.user.erasure.repository import DUE_ERASURES
from services.user.guests.repository import DUE_ADOPTIONS
from services.user.limits.repository import LimitRepository
from services.user.links.repository import DUE_RESETS
from services.user.token_repository import TokenRepository
from workers.relay.database import OutboxDatabase

Raw = psycopg.AsyncConnection[Any]
Work = Callable[[Raw], Awaitable[object]]

_BATCH: Final = 100
_LEASE: Final = timedelta(seconds=60)
_MINUTE: Final = timedelta(minutes=1)
_DUE: Final[Mapping[str, Sequence[DueTable[Any]]]] = {
    "order": (UNSTARTED, OPEN_REQUESTS, DUE_GUESTS, DUE_LINK_REQUESTS, DUE_LOOKS),
    "payment": (DUE_EVENTS, DUE_SWEEP, *DUE_FOLLOW_UPS.values()),
    "notification": (DUE_NOTIFICATIONS,),
    "user": (DUE_ERASURES, DUE_ADOPTIONS, DUE_RESETS),
}


def periodic_work() -> Mapping[str, Mapping[str, Work]]:
    """Service to what is done again and again in its database, by name."""
    work: dict[str, dict[str, Work]] = {
        service: {"relay: read, none unpublished": _relay, "gauge: outbox": _on(_count_outbox)}
        for service in ("user", "product", "inventory", "order", "payment", "notification")
    }
    for service in work:
        tables = (DUE_RULES, *_DUE.get(service, ()))
        work[service] |= {"due work: claim": _on(_claim(tables)), "due work: gauges": _on(_count(tables))}
    work["order"] |= {"watcher: open orders": _on(_watch), "gauges: orders, concerns": _on(_read_orders)}
    work["payment"] |= {"watcher: what stands": _on(_find_standing), "gauge: events": _on(read_open_events)}
    work["notification"] |= {
        "inbox: receive": _on(_receive),
        "gauge: dead letters": _on(lambda connection: DeadLetterRepository(connection).count_open()),
    }
    work["user"] |= {
        "sessions that ended": _on(_list_ended),
        "limits: prune": _on(lambda connection: LimitRepository(connection).prune()),
    }
    return work


def _on(work: Callable[[Connection], Awaitable[object]]) -> Work:
    return lambda raw: work(Connection(raw, StatementCounts("bench"), alone=False))


async def _relay(raw: Raw) -> None:
    await OutboxDatabase(raw, holder="bench").read(limit=1_000, without=[])


async def _count_outbox(connection: Connection) -> None:
    await find_backlog(connection, most=10_000)


def _claim(tables: Sequence[DueTable[Any]]) -> Callable[[Connection], Awaitable[None]]:
    async def claim(connection: Connection) -> None:
        for table in tables:
            await table.claim(connection, limit=_BATCH, lease=_LEASE)

    return claim


def _count(tables: Sequence[DueTable[Any]]) -> Callable[[Connection], Awaitable[None]]:
    async def count(connection: Connection) -> None:
        for table in tables:
            await table.find_backlog(connection, most=10_000)

    return count


async def _watch(connection: Connection) -> None:
    repository = AttentionRepository(connection)
    found = await repository.find_open_orders(after=None, limit=_BATCH)
    await repository.find_of_subjects(ConcernKind.ORDER, [order.id for order in found])
    await repository.reconcile([], raised_by="bench", kinds=[ConcernKind.ORDER], subjects=[order.id for order in found])
    await repository.clear_closed_orders(cleared_by="bench")


async def _read_orders(connection: Connection) -> None:
    await read_open_orders(connection)
    await read_attention(connection)


async def _find_standing(connection: Connection) -> None:
    repository = OnCallRepository(connection)
    await repository.find_waiting_events(older_than=_MINUTE, most=_BATCH)
    await repository.find_flagged_events(most=_BATCH)
    for table in get_args(FollowedTable):
        await repository.find_failing_follow_ups(table, older_than=_MINUTE, most=_BATCH)
        await PaymentRepository(connection).list_open(table, after=None, most=_BATCH)


async def _receive(connection: Connection) -> None:
    order_id = new_id()
    data = OrderTransitioned(order_id=order_id, user_id=new_id())
    event = OrderEvent(id=f"order:{order_id}:2", seq=2, template=Template.ORDER_PLACED, data=data, text="{}")
    await NotificationRepository(connection).receive(new_id(), event)


async def _list_ended(connection: Connection) -> None:
    await TokenRepository(connection).list_ended(None, token_life=_MINUTE, limit=_BATCH)
