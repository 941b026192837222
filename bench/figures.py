"""What the bench found, as data and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.database_cost import DatabaseCost

LISTED_APART = frozenset({"doubles", "load generator"})
"""Processes that a shop does not run: the Stripe double with the mail sink, and the customers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """Milliseconds."""

    p50: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Percentiles:
        """Of measured seconds."""
        ranked = sorted(seconds)
        return cls(p50=_at(ranked, 0.5) * 1_000, p99=_at(ranked, 0.99) * 1_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class RatePoint:
    """How long customers waited at a steady rate of orders per second."""

    rate: float
    accept_ms: Percentiles
    end_to_end_ms: Percentiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Medians over the rounds; CPU in milliseconds per order or saga, load generator and doubles apart."""

    orders_per_s: float
    bare_orders_per_s: float
    ratio: float
    cpu_ms_per_order: Mapping[str, float]
    bare_cpu_ms: float
    bare_cpu_ms_per_saga: Mapping[str, float]
    cpu_ratio: float
    accept_ms: Percentiles
    end_to_end_ms: Percentiles
    events_per_order: float
    bare_events: int
    database: DatabaseCost
    outbox_lag_ms: Percentiles
    bare_producer_lag_ms: Percentiles
    latency_over_rate: Sequence[RatePoint]

    def to_data(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    def print(self, console: Console) -> None:
        """As a table."""
        table = Table(show_header=True, box=None, pad_edge=False)
        for column in ("figure", "whole", "bare", "ratio"):
            table.add_column(column, justify="left" if column == "figure" else "right")
        table.add_row(
            "orders per second", f"{self.orders_per_s:.1f}", f"{self.bare_orders_per_s:.1f}", f"{self.ratio:.2f}"
        )
        table.add_row(
            "CPU ms per order",
            f"{self.cpu_ms_per_order['total']:.1f}",
            f"{self.bare_cpu_ms:.1f}",
            f"{self.cpu_ratio:.2f}",
        )
        for name, cost in self.cpu_ms_per_order.items():
            if name != "total":
                bare = self.bare_cpu_ms_per_saga.get(name)
                label = f"  {name}" + (" (apart)" if name in LISTED_APART else "")
                table.add_row(label, f"{cost:.1f}", "" if bare is None else f"{bare:.1f}")
        for name, cost in self.bare_cpu_ms_per_saga.items():
            if name not in self.cpu_ms_per_order:
                table.add_row(f"  {name}", "", f"{cost:.1f}")
        table.add_row("history events", f"{self.events_per_order:.1f}", str(self.bare_events))
        for name, figure in (("accept ms", self.accept_ms), ("end to end ms", self.end_to_end_ms)):
            table.add_row(f"{name}, p50 / p99", f"{figure.p50:.0f} / {figure.p99:.0f}")
        table.add_row(
            "outbox lag ms at half the rate, p50 / p99",
            f"{self.outbox_lag_ms.p50:.0f} / {self.outbox_lag_ms.p99:.0f}",
            f"{self.bare_producer_lag_ms.p50:.0f} / {self.bare_producer_lag_ms.p99:.0f}",
        )
        for point in self.latency_over_rate:
            table.add_row(
                f"at {point.rate:.1f} orders per second: accept, end to end ms, p50 / p99",
                f"{point.accept_ms.p50:.0f} / {point.accept_ms.p99:.0f}",
                f"{point.end_to_end_ms.p50:.0f} / {point.end_to_end_ms.p99:.0f}",
            )
        console.print(table)
        for name, parts in self.database.lines():
            console.print(f"{name}, {parts}")


def per_order(rounds: Sequence[tuple[int, Mapping[str, float]]]) -> dict[str, float]:
    """Median CPU milliseconds per order or saga of each process, from rounds of so many with so many seconds."""
    return {name: median(cpu[name] / count * 1_000 for count, cpu in rounds) for name in rounds[0][1]}


def with_total(costs: Mapping[str, float]) -> dict[str, float]:
    """With the total of those that are not listed apart."""
    return {**costs, "total": sum(cost for name, cost in costs.items() if name not in LISTED_APART)}


def _at(ranked: Sequence[float], share: float) -> float:
    return ranked[min(len(ranked) - 1, int(len(ranked) * share))]
