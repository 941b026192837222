"""Latency over rate as a picture: how long customers wait the busier the shop is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.figures import RatePoint

mpl.use("Agg")


def plot_latency(points: Sequence[RatePoint], path: Path, *, title: str) -> None:
    """Write the median and the 99th percentile of both waits over the rate, as PNG."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    rates = [point.rate for point in points]
    for name, colour, waits in (
        ("until PAID in Kafka", "tab:blue", [point.end_to_end_ms for point in points]),
        ("until the answer to POST", "tab:orange", [point.accept_ms for point in points]),
    ):
        axes.plot(rates, [wait.p99 for wait in waits], color=colour, linestyle="--", marker=".", label=f"{name}, p99")
        axes.plot(rates, [wait.p50 for wait in waits], color=colour, marker="o", label=f"{name}, median")
    axes.set_xlabel("orders placed per second, at a steady rate")
    axes.set_ylabel("milliseconds")
    axes.set_yscale("log")
    axes.set_xlim(left=0)
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    axes.set_title(title, fontsize=10)
    figure.savefig(path, dpi=120)
