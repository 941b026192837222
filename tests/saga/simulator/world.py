"""What a case came to, as the databases and Stripe have it: the audit's facts, and what its own rules look at."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from cli.audit.facts import Facts
from cli.audit.read_databases import fetch_inventory, fetch_orders, fetch_payments
from cli.audit.read_outside import read_stripe
from domain.orders import OrderStatus
from domain.refunds import RefundOrigin, RefundStatus
from sandbox.stripe.account import StripeAccount
from sandbox.stripe.events import Event
from sandbox.stripe.objects import Charge, ChargeStatus, Intent
from sandbox.stripe.objects import Refund as StripeRefund
from tests.saga.simulator.databases import CaseDatabases
from tests.saga.simulator.installation import SETTINGS, Installation
from tests.support.audit_facts import facts


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRow:
    """The order, and what it knows of its refunds by their ids: whether each succeeded, in which version."""

    id: str
    status: OrderStatus
    reason: str | None
    causes: Sequence[str]
    """Of its transitions, in their order."""
    refunds: Mapping[str, tuple[bool, int]]
    attention: Mapping[str, str]
    """Step to note, of what is not cleared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundRow:
    """A refund as the payment service has it."""

    id: str
    origin: RefundOrigin
    status: RefundStatus
    amount: int
    version: int
    restock_id: str
    has_restock: bool
    stripe_refund_id: str | None
    is_open: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything at one moment."""

    facts: Facts
    order: OrderRow
    refunds: Sequence[RefundRow]
    """Oldest first."""
    restocked: Mapping[str, int]
    """Restock id to the units that were put back under it."""
    provider_events: Mapping[str, int]
    """Status in the inbox to the number of events."""
    intents: Sequence[Intent]
    charges: Sequence[Charge]
    stripe_refunds: Sequence[StripeRefund]
    flips: Mapping[str, int]
    """By Stripe's refund id: how often its money came to be given back, or no longer to be."""

    @property
    def succeeded_charges(self) -> int:
        """How often money was taken."""
        return sum(charge.status is ChargeStatus.SUCCEEDED for charge in self.charges)

    @property
    def failed_charges(self) -> int:
        """How often the charge failed."""
        return sum(charge.status is ChargeStatus.FAILED for charge in self.charges)

    def flips_of(self, refund: RefundRow) -> int:
        """How often the money of one of our refunds moved."""
        return self.flips.get(refund.stripe_refund_id or "", 0)


async def read_facts(installation: Installation, databases: CaseDatabases) -> Facts:
    """What the audit looks at, without workflows and Kafka."""
    orders, transitions = await fetch_orders(databases["order"])
    reservations, stock, restocks = await fetch_inventory(databases["inventory"])
    paid = await fetch_payments(databases["payment"])
    return facts(
        orders=orders,
        transitions=transitions,
        reservations=reservations,
        stock=stock,
        restocks=restocks,
        payments=paid.payments,
        refunds=paid.refunds,
        disputes=paid.disputes,
        waiting_events=paid.waiting_events,
        intents=await read_stripe(installation.reader, app=SETTINGS.stripe_app),
    )


async def read_world(installation: Installation, databases: CaseDatabases) -> World:
    """All of it."""
    account = installation.account
    events = await databases.rows("payment", "SELECT status, count(*) AS number FROM provider_events GROUP BY status")
    restocked = await databases.rows(
        "inventory",
        """
        SELECT restock_id::text, sum(on_hand_change)::int AS units FROM movements
         WHERE restock_id IS NOT NULL GROUP BY restock_id
        """,
    )
    return World(
        facts=await read_facts(installation, databases),
        order=await read_order(databases),
        refunds=await read_refunds(databases),
        restocked={row["restock_id"]: row["units"] for row in restocked},
        provider_events={row["status"]: row["number"] for row in events},
        intents=account.all(Intent),
        charges=account.all(Charge),
        stripe_refunds=account.all(StripeRefund),
        flips=count_flips(account),
    )


async def read_order(databases: CaseDatabases) -> OrderRow:
    """The order of the case."""
    [row] = await databases.rows(
        "order",
        """
        SELECT id::text, status, reason,
               (SELECT json_agg(cause_id ORDER BY seq) FROM order_transitions) AS causes,
               (SELECT json_object_agg(refund_id, json_build_array(succeeded, version)) FROM order_refunds) AS refunds,
               (SELECT json_object_agg(concat_ws(' ', kind, subject_id, step), cause) FROM concerns
                 WHERE cleared_at IS NULL) AS attention
          FROM orders
        """,
    )
    return OrderRow(
        id=row["id"],
        status=OrderStatus(row["status"]),
        reason=row["reason"],
        causes=row["causes"],
        refunds={refund_id: (succeeded, version) for refund_id, (succeeded, version) in (row["refunds"] or {}).items()},
        attention=row["attention"] or {},
    )


async def read_refunds(databases: CaseDatabases) -> list[RefundRow]:
    """The refunds of the case, oldest first."""
    rows = await databases.rows(
        "payment",
        """
        SELECT id::text, origin, status, amount, version, restock_id::text,
               restock <> '[]'::jsonb AS has_restock, stripe_refund_id, saga_open AS is_open
          FROM refunds ORDER BY created_at, id
        """,
    )
    return [
        RefundRow(**{**row, "origin": RefundOrigin(row["origin"]), "status": RefundStatus(row["status"])})
        for row in rows
    ]


def count_flips(account: StripeAccount) -> Mapping[str, int]:
    """By Stripe's refund id: how often its money came to be given back, or no longer to be, by Stripe's events."""
    last, flips = defaultdict[str, Any](lambda: False), Counter[str]()
    for event in account.all(Event):
        shown = msgspec.json.decode(event.data.object)
        if shown["object"] == "refund":
            succeeded = shown["status"] == "succeeded"
            flips[shown["id"]] += succeeded != last[shown["id"]]
            last[shown["id"]] = succeeded
    return flips
