"""What the demo prints, and the same as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console
from rich.markup import escape

from cli.audit.facts import Breach, Facts
from cli.audit.report import print_invariants
from cli.demo.scenarios import Outcome
from cli.demo.shop import CURRENCY
from domain.money import format_money
from domain.saga import order_workflow_id

COLOURS: Final[Mapping[str, str]] = {
    "PAID": "green",
    "PARTIALLY_REFUNDED": "green",
    "REFUNDED": "green",
    "FAILED": "yellow",
    "CANCELLED": "yellow",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of the demo's orders, and what the audit says."""

    outcomes: Sequence[Outcome]
    histories: Mapping[str, str]
    """The history of each workflow, as JSON, by a name for its file."""
    facts: Facts
    breaches: Sequence[Breach]
    temporal_ui: str

    @property
    def is_good(self) -> bool:
        """Whether every order ended as it should and every invariant holds."""
        return not self.breaches and all(outcome.is_expected for outcome in self.outcomes)

    @property
    def summary(self) -> str:
        """In one line."""
        good = sum(outcome.is_expected for outcome in self.outcomes)
        return f"{good} of {len(self.outcomes)} orders ended as they should, {len(self.breaches)} breaches"

    def print(self, console: Console) -> None:
        """A block per order, then a line per invariant."""
        for number, outcome in enumerate(self.outcomes, start=1):
            self._print_outcome(console, number, outcome)
        console.print()
        print_invariants(console, self.facts, self.breaches)
        console.print()

    def to_data(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "orders": [self._to_data(outcome) for outcome in self.outcomes],
            "breaches": [
                {"invariant": breach.invariant, "subject": breach.subject, "what": breach.what}
                for breach in self.breaches
            ],
        }

    def _print_outcome(self, console: Console, number: int, outcome: Outcome) -> None:
        order = outcome.order
        ending = order.status + (f": {order.reason}" if order.reason else "")
        colour = COLOURS.get(order.status, "red")
        console.print(f"\n[bold]{number}. {escape(outcome.promise.scenario)}[/]  [bold {colour}]{ending}[/]")
        if not outcome.is_expected:
            wanted = ": ".join(part for part in outcome.promise.ends if part)
            console.print(
                f"   [bold red]expected {wanted}, stock {outcome.promise.available}, {outcome.promise.money}[/]"
            )
        rows = {
            "tried": outcome.promise.tried,
            "history": " → ".join(f"{row.to} {row.at:%H:%M:%S.%f}"[:-3] for row in order.transitions),
            "stock": ", ".join(f"{change.product} {change.before} → {change.after}" for change in outcome.stock),
            "money": self._show_money(outcome),
            "mails": " · ".join(outcome.mails),
            "workflow": self._workflow_url(order.id),
        }
        for name, text in rows.items():
            console.print(f"   [dim]{name:9}[/]{escape(text or 'none')}", soft_wrap=True)

    def _to_data(self, outcome: Outcome) -> dict[str, Any]:
        return {
            "scenario": outcome.promise.scenario,
            "tried": outcome.promise.tried,
            "order_id": outcome.order.id,
            "status": outcome.order.status,
            "reason": outcome.order.reason,
            "as_expected": outcome.is_expected,
            "transitions": [{"to": row.to, "at": row.at.isoformat()} for row in outcome.order.transitions],
            "stock": [
                {"product": change.product, "before": change.before, "after": change.after} for change in outcome.stock
            ],
            "money": {"received": outcome.money.received, "refunded": outcome.money.refunded},
            "mails": outcome.mails,
            "workflow": self._workflow_url(outcome.order.id),
        }

    @staticmethod
    def _show_money(outcome: Outcome) -> str:
        money = outcome.money
        received = f"{format_money(money.received, CURRENCY)} received"
        return f"{received}, {format_money(money.refunded, CURRENCY)} refunded" if money.refunded else received

    def _workflow_url(self, order_id: str) -> str:
        return f"{self.temporal_ui}/namespaces/default/workflows/{order_workflow_id(order_id)}"
