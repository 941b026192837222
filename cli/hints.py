"""What mends a problem, where its own words do not say so."""

from __future__ import annotations


def with_hint(problem: str, hint: str) -> str:
    """The problem in one line, with what to look at, unless it names a setting or a command by itself."""
    line = " ".join(problem.split())
    return line if "ORDERSAGA_" in line or "`ordersaga " in line else f"{line}; {hint}"
