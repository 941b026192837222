"""The audit in words, and as data."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from rich.console import Console

from cli.audit.facts import Breach, Facts, Source
from cli.audit.invariants import CHECKS, list_lost_disputes
from cli.printable import as_markup
from domain.events import ORDER_EVENTS
from domain.money import format_money


class Result(StrEnum):
    """What became of an invariant.

    Attributes:
        HOLDS: everything was read, and agrees.
        BROKEN: something does not agree.
        IN_PART: what was read agrees, and not all could be read.
        NOT_CHECKED: what it is about could not be read.
    """

    HOLDS = "holds"
    BROKEN = "broken"
    IN_PART = "in part"
    NOT_CHECKED = "not checked"


_SHOWN: Final = {
    Result.HOLDS: "[green]holds[/]      ",
    Result.BROKEN: "[bold red]BROKEN[/]     ",
    Result.IN_PART: "[yellow]in part[/]    ",
    Result.NOT_CHECKED: "[yellow]not checked[/]",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the audit says of one invariant.

    Attributes:
        lacking: the sources that it could not be checked with.
    """

    number: int
    name: str
    result: Result
    lacking: Sequence[Source]
    breaches: Sequence[Breach]


def list_verdicts(facts: Facts, breaches: Sequence[Breach]) -> Iterator[Verdict]:
    """One per invariant, in their order."""
    for number, (check, sources) in enumerate(CHECKS.items(), start=1):
        broken = [breach for breach in breaches if breach.invariant == number]
        lacking = [source for source in facts.unread if source in sources.needed | sources.used]
        if broken:
            result = Result.BROKEN
        elif sources.needed & facts.unread.keys():
            result = Result.NOT_CHECKED
        else:
            result = Result.IN_PART if lacking else Result.HOLDS
        name = check.__name__.replace("_", " ")
        yield Verdict(number=number, name=name, result=result, lacking=lacking, breaches=broken)


def print_audit(facts: Facts, breaches: Sequence[Breach], *, as_json: bool) -> None:
    """For a person at a terminal, or one JSON object for a script."""
    if as_json:
        print(json.dumps(to_data(facts, breaches), indent=2))
    else:
        print_invariants(Console(highlight=False), facts, breaches)


def print_invariants(console: Console, facts: Facts, breaches: Sequence[Breach]) -> None:
    """A line per invariant, one per breach, and one per source that could not be read."""
    console.print(
        f"[bold]Invariants[/], read from the databases, Stripe, Temporal and Kafka: {_counts(facts)}", soft_wrap=True
    )
    for verdict in list_verdicts(facts, breaches):
        without = f" [dim](without {', '.join(verdict.lacking)})[/]" if verdict.lacking else ""
        console.print(f"   {verdict.number}. {_SHOWN[verdict.result]}  {verdict.name}{without}", soft_wrap=True)
        for breach in verdict.breaches:
            console.print(f"      [red]{as_markup(breach.subject)}: {as_markup(breach.what)}[/]", soft_wrap=True)
    for problem in facts.unread.values():
        console.print(f"   [yellow]could not be read:[/] {as_markup(problem)}", soft_wrap=True)
    for dispute in list_lost_disputes(facts):
        amount = format_money(dispute.withdrawn, dispute.currency)
        console.print(
            f"   apart: dispute {as_markup(dispute.id)} took {amount} of order {dispute.order_id} for good",
            soft_wrap=True,
        )
    if facts.foreign_records:
        console.print(f"   apart: {_foreign(facts.foreign_records)}", soft_wrap=True)


def to_data(facts: Facts, breaches: Sequence[Breach]) -> dict[str, Any]:
    """As JSON values; amounts in minor units."""
    return {
        "read_at": facts.read_at.isoformat(),
        "invariants": [
            {
                "number": verdict.number,
                "name": verdict.name,
                "result": verdict.result,
                "lacking": verdict.lacking,
                "breaches": [{"subject": breach.subject, "what": breach.what} for breach in verdict.breaches],
            }
            for verdict in list_verdicts(facts, breaches)
        ],
        "unread": dict(facts.unread),
        "orders": len(facts.orders),
        "transitions": len(facts.transitions),
        "products": len(facts.stock),
        "payment_intents": len(facts.intents),
        "lost_disputes": [
            {"id": lost.id, "order_id": lost.order_id, "withdrawn": lost.withdrawn, "currency": lost.currency}
            for lost in list_lost_disputes(facts)
        ],
        "foreign_records": facts.foreign_records,
    }


def _counts(facts: Facts) -> str:
    counts = {
        Source.ORDER: f"{len(facts.orders)} orders, {len(facts.transitions)} transitions",
        Source.INVENTORY: f"{len(facts.stock)} products",
        Source.STRIPE: f"{len(facts.intents)} payment intents",
    }
    return ", ".join(text for source, text in counts.items() if source not in facts.unread) or "nothing"


def _foreign(count: int) -> str:
    if count == 1:
        return f"1 foreign record on {ORDER_EVENTS}, which is no event of ours and changes nothing"
    return f"{count} foreign records on {ORDER_EVENTS}, which are no events of ours and change nothing"
