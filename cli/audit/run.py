"""The audit: read, look, and look again after the grace at whatever did not agree."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import stripe
from temporalio.client import Client

from cli.audit.facts import Breach, Facts
from cli.audit.invariants import GRACE, find_breaches
from cli.audit.read_databases import read_inventory, read_orders, read_payments
from cli.audit.read_outside import read_kafka, read_stripe, read_temporal
from runtime.settings import Settings
from services.payment.stripe_port import APP


async def audit(settings: Settings) -> tuple[Facts, list[Breach]]:
    """Read everything and answer with what still does not agree after the grace.

    A breach counts only if it is still there, with the same row versions: work in flight is none.
    """
    facts = await read_facts(settings)
    suspects = set(find_breaches(facts))
    if not suspects:
        return facts, []
    await asyncio.sleep(GRACE.total_seconds())
    facts = await read_facts(settings)
    return facts, sorted(suspects & set(find_breaches(facts)), key=lambda breach: (breach.invariant, breach.subject))


async def read_facts(settings: Settings) -> Facts:
    """Read the databases, Stripe, Temporal and Kafka."""
    dsns = {service: dsn.get_secret_value() for service, dsn in settings.audit_dsns.items()}
    temporal = await Client.connect(settings.temporal_address, namespace=settings.temporal_namespace)
    client = stripe.StripeClient(
        settings.required("stripe_api_key"),
        base_addresses={"api": settings.stripe_api_base} if settings.stripe_api_base else {},
        http_client=stripe.HTTPXClient(timeout=settings.stripe_timeout),
    )
    read_at = datetime.now(UTC)
    runs = await read_temporal(temporal)
    intents = await read_stripe(client, app=APP)
    reservations, stock = await read_inventory(dsns["inventory"])
    payments, waiting = await read_payments(dsns["payment"])
    orders, transitions = await read_orders(dsns["order"])
    return Facts(
        read_at=read_at,
        orders=orders,
        transitions=transitions,
        reservations=reservations,
        stock=stock,
        payments=payments,
        waiting_events=waiting,
        intents=intents,
        runs=runs,
        published=await read_kafka(settings.kafka_bootstrap),
    )
