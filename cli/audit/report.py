"""The audit in words."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

from cli.audit.facts import Breach, Facts
from cli.audit.invariants import CHECKS, list_lost_disputes
from domain.money import format_money


def print_invariants(console: Console, facts: Facts, breaches: Sequence[Breach]) -> None:
    """A line per invariant, and one per breach."""
    console.print(
        f"[bold]Invariants[/], read from the databases, Stripe, Temporal and Kafka: {len(facts.orders)} orders, "
        f"{len(facts.transitions)} transitions, {len(facts.stock)} products, {len(facts.intents)} payment intents"
    )
    for number, check in enumerate(CHECKS, start=1):
        broken = [breach for breach in breaches if breach.invariant == number]
        result = "[bold red]BROKEN[/]" if broken else "[green]holds[/] "
        console.print(f"   {number}. {result}  {check.__name__.replace('_', ' ')}")
        for breach in broken:
            console.print(f"      [red]{escape(breach.subject)}: {escape(breach.what)}[/]", soft_wrap=True)
    for dispute in list_lost_disputes(facts):
        amount = format_money(dispute.withdrawn, dispute.currency)
        console.print(f"   apart: dispute {escape(dispute.id)} took {amount} of order {dispute.order_id} for good")
