"""Reading the facts: from all sources side by side, so that one which does not answer holds up no other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Final, TypeVar

from cli.audit.facts import Facts, IntentFact, RunFact, Source
from cli.audit.patience import patiently
from cli.audit.read_databases import PaymentFacts, ask_database, read_inventory, read_orders, read_payments
from cli.audit.read_outside import Published, read_kafka, read_stripe, read_temporal
from cli.hints import with_hint
from cli.stripe_sdk import open_stripe
from runtime.refusal import Unavailable
from runtime.settings import Settings, SettingsError
from runtime.temporal import connect_temporal

Fact = TypeVar("Fact")

_AUDITED: Final = ("order", "inventory", "payment")
_HINTS: Final = {
    Source.TEMPORAL: "see ORDERSAGA_TEMPORAL_ADDRESS and ORDERSAGA_TEMPORAL_NAMESPACE, or the profile",
    Source.STRIPE: "see ORDERSAGA_STRIPE_API_KEY and ORDERSAGA_STRIPE_API_BASE",
    Source.INVENTORY: "see ORDERSAGA_AUDIT_DSNS, inventory",
    Source.PAYMENT: "see ORDERSAGA_AUDIT_DSNS, payment",
    Source.ORDER: "see ORDERSAGA_AUDIT_DSNS, order",
    Source.KAFKA: "see ORDERSAGA_KAFKA_BOOTSTRAP",
}


async def read_facts(settings: Settings, *, given_up: Mapping[Source, str] | None = None) -> Facts:
    """Read the databases, Stripe, Temporal and Kafka, but for the sources that were given up before.

    Raises:
        SettingsError: a setting is missing or does not fit.
    """
    dsns = _dsns(settings)
    stripe_key = settings.required("stripe_api_key")
    unread = dict(given_up or {})
    read_at = datetime.now(UTC)

    def database(service: str, read: Callable[[str], Awaitable[Fact]]) -> Callable[[], Awaitable[Fact]]:
        return lambda: patiently(lambda: ask_database(read, dsns[service], service=service))

    runs, intents, inventory, paid, ordered, published = await asyncio.gather(
        _unless_away(Source.TEMPORAL, lambda: _read_temporal(settings), unread),
        _unless_away(Source.STRIPE, lambda: _read_stripe(settings, stripe_key), unread),
        _unless_away(Source.INVENTORY, database("inventory", read_inventory), unread),
        _unless_away(Source.PAYMENT, database("payment", read_payments), unread),
        _unless_away(Source.ORDER, database("order", read_orders), unread),
        _unless_away(Source.KAFKA, lambda: patiently(lambda: read_kafka(settings)), unread),
    )
    reservations, stock, restocks = inventory or ({}, [], [])
    orders, transitions = ordered or ({}, [])
    paid = paid or PaymentFacts(payments={}, refunds=[], disputes=[], waiting_events=[])
    published = published or Published(seqs={}, foreign=0, forgotten_until=None)
    return Facts(
        read_at=read_at,
        orders=orders,
        transitions=transitions,
        reservations=reservations,
        stock=stock,
        restocks=restocks,
        payments=paid.payments,
        refunds=paid.refunds,
        disputes=paid.disputes,
        waiting_events=paid.waiting_events,
        intents=intents or {},
        runs=runs or {},
        published=published.seqs,
        forgotten_by_kafka=published.forgotten_until,
        foreign_records=published.foreign,
        unread=unread,
    )


async def _unless_away(source: Source, read: Callable[[], Awaitable[Fact]], unread: dict[Source, str]) -> Fact | None:
    """What the source holds; None, with a note in `unread`, where it does not answer, and where it is noted already."""
    if source in unread:
        return None
    try:
        return await read()
    except Unavailable as away:
        unread[source] = with_hint(str(away), _HINTS[source])
        return None


async def _read_temporal(settings: Settings) -> Mapping[str, RunFact]:
    return await read_temporal(await connect_temporal(settings, lazy=True))


async def _read_stripe(settings: Settings, api_key: str) -> Mapping[str, IntentFact]:
    async with open_stripe(api_key, api_base=settings.stripe_api_base, call_seconds=settings.stripe_timeout) as client:
        return await read_stripe(client, app=settings.stripe_app)


def _dsns(settings: Settings) -> Mapping[str, str]:
    if missing := [service for service in _AUDITED if service not in settings.audit_dsns]:
        description = Settings.model_fields["audit_dsns"].description
        raise SettingsError(f"ORDERSAGA_AUDIT_DSNS lacks {', '.join(missing)}. It is: {description}")
    return {service: dsn.get_secret_value() for service, dsn in settings.audit_dsns.items()}
