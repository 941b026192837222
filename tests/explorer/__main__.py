"""`make explore`: explore as many traces as wanted, or run one schedule and tell all of it."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from typing import Final

from tests.explorer import refund_explore, refund_lab, refund_shapes
from tests.explorer.explore import describe, explore
from tests.explorer.lab import Lab
from tests.explorer.schedule import parse
from tests.explorer.shapes import SHAPES
from tests.explorer.space import is_slow

PAIRS_OF_REFUNDS: Final = 20
"""One pair of moves of refunds for so many traces of orders: their singles are all run."""


def tell(line: str) -> None:
    """To whoever runs it."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def run_one(text: str) -> int:
    """Run one schedule; 1 when it breaks a rule."""
    schedule = parse(text)
    if schedule.shape in refund_shapes.SHAPES:
        slow = refund_explore.is_slow(schedule)
        [refunds] = await refund_lab.Lab().run([schedule], slow=slow)
        tell(refund_explore.describe(refunds))
        return 1 if refunds.breaches else 0
    [outcome] = await Lab().run([schedule], slow=is_slow(schedule))
    tell(describe(outcome))
    return 1 if outcome.breaches else 0


async def run_many(traces: int, seed: int) -> int:
    """Explore; 1 when anything broke a rule."""
    report = await explore(list(SHAPES), traces=traces, seed=seed, tell=tell)
    for outcome in report.breaches:
        tell(describe(outcome))
    tell(str(report))
    refunds = await refund_explore.explore(list(refund_shapes.SHAPES), pairs=traces // PAIRS_OF_REFUNDS, seed=seed)
    for breach in refunds.breaches:
        tell(refund_explore.describe(breach))
    tell(str(refunds))
    return 1 if report.breaches or refunds.breaches else 0


def main() -> int:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.explorer", description=__doc__)
    parser.add_argument("--traces", type=int, default=10_000, help="how many distinct traces")
    parser.add_argument("--seed", type=int, default=0, help="decides the order of pairs and triples")
    parser.add_argument("--schedule", default="", help="run this one alone")
    arguments = parser.parse_args()
    if arguments.schedule:
        return asyncio.run(run_one(arguments.schedule))
    return asyncio.run(run_many(arguments.traces, arguments.seed))


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # a process that ran a worker can crash when its interpreter ends
