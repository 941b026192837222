"""The audit: read, look, and look again after the grace at whatever did not agree."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Final

from cli.audit.facts import Breach, Facts
from cli.audit.invariants import GRACE, find_breaches
from cli.audit.read_databases import read_inventory, read_orders, read_payments
from cli.audit.read_outside import read_kafka, read_stripe, read_temporal
from cli.stripe_sdk import open_stripe
from runtime.settings import Settings
from runtime.temporal import connect_temporal

LOOK_AGAIN: Final = 0.5
"""Seconds between looks at what did not agree."""


async def audit(settings: Settings) -> tuple[Facts, list[Breach]]:
    """Read everything and answer with what does not agree, and still does not when the grace is over.

    A breach counts only if it stays, with the same row versions: work in flight is none.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + GRACE.total_seconds()
    facts = await read_facts(settings)
    suspects = set(find_breaches(facts))
    while suspects and loop.time() < deadline:
        await asyncio.sleep(LOOK_AGAIN)
        facts = await read_facts(settings)
        suspects &= set(find_breaches(facts))
    return facts, sorted(suspects, key=lambda breach: (breach.invariant, breach.subject))


async def read_facts(settings: Settings) -> Facts:
    """Read the databases, Stripe, Temporal and Kafka."""
    dsns = {service: dsn.get_secret_value() for service, dsn in settings.audit_dsns.items()}
    temporal = await connect_temporal(settings)
    read_at = datetime.now(UTC)
    runs = await read_temporal(temporal)
    async with open_stripe(
        settings.required("stripe_api_key"), api_base=settings.stripe_api_base, call_seconds=settings.stripe_timeout
    ) as client:
        intents = await read_stripe(client, app=settings.stripe_app)
    reservations, stock, restocks = await read_inventory(dsns["inventory"])
    paid = await read_payments(dsns["payment"])
    orders, transitions = await read_orders(dsns["order"])
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
        intents=intents,
        runs=runs,
        published=await read_kafka(settings),
    )
