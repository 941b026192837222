"""`make explore`: explore as many traces as wanted, or run one schedule and show all of it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import uvloop

from tests.saga.simulator.beginnings import BEGINNINGS
from tests.saga.simulator.explore import Report, describe, explore
from tests.saga.simulator.order_beginnings import ORDERS
from tests.saga.simulator.refund_beginnings import REFUNDS
from tests.saga.simulator.schedule import parse
from tests.saga.simulator.simulator import Simulator
from tests.support.shared_postgres import PostgresOnDemand, ask_for_postgres

REFUNDS_SHARE: Final = 5
"""Of so many traces of orders, one of refunds: their single moves are all run."""


def show(line: str) -> None:
    """To whoever runs it."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


@contextmanager
def open_simulator() -> Iterator[Simulator]:
    """A simulator with a PostgreSQL server of its own."""
    postgres = PostgresOnDemand()
    try:
        yield Simulator(ask_for_postgres(postgres.address), str(os.getpid()))
    finally:
        postgres.close()


async def run_one(simulator: Simulator, text: str) -> int:
    """Run one schedule; 1 when it breaks a rule."""
    schedule = parse(text)
    if schedule.beginning not in BEGINNINGS:
        show(f"no case begins with {schedule.beginning!r}; these do: {', '.join(BEGINNINGS)}")
        return 2
    [outcome] = await simulator.run([schedule])
    show(describe(outcome))
    return 1 if outcome.breaches else 0


async def run_many(simulator: Simulator, traces: int, seed: int) -> int:
    """Explore; 1 when anything broke a rule."""
    orders = await explore(simulator, list(ORDERS), traces=traces, seed=seed, show=show)
    refunds = await explore(simulator, list(REFUNDS), traces=traces // REFUNDS_SHARE, seed=seed, show=show)
    return max(_report("orders", orders), _report("refunds and disputes", refunds))


def _report(of: str, report: Report) -> int:
    for outcome in report.breaches:
        show(describe(outcome))
    show(f"{of}: {report}")
    return 1 if report.breaches else 0


def main() -> int:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.saga.simulator", description=__doc__)
    parser.add_argument("--traces", type=int, default=10_000, help="how many distinct traces")
    parser.add_argument("--seed", type=int, default=0, help="decides the order of pairs and triples")
    parser.add_argument("--schedule", default="", help="run this one alone")
    arguments = parser.parse_args()
    with open_simulator() as simulator:
        if arguments.schedule:
            return uvloop.run(run_one(simulator, arguments.schedule))
        return uvloop.run(run_many(simulator, arguments.traces, arguments.seed))


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # a process that ran a worker can crash when its interpreter ends
