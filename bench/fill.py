"""``make fill``: gives the stack that `make up` runs a past of N orders, in minutes for a million.

What is filled agrees: every rule of `ordersaga audit` that the databases can be held against holds. Outside of them it
has left no trace. So the audit of a filled stack says that Kafka lacks what the outbox calls published (5), that Stripe
lacks the intents (7; ``--no-intents`` leaves them out), and that nothing runs for orders that are still to be paid
(6; none are unless ``--open`` says so). What is older than it is kept, the stack deletes like anything else. A stack
that is started anew publishes every event that it has to its new broker: of a million orders that takes a while.

Disk: 13 kB per order, of which 9 kB are rows that a retention is for; ``--recent`` says of how many of the newest
orders there are such rows. The rows are the same for the same numbers and seed, but for what is reckoned from now.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Console

from bench.filling.fill import Filled, fill
from bench.filling.people import BIG, OLD, REGULAR
from bench.filling.shape import Shape
from cli.exiting import CommandFailed, run_and_exit
from sandbox.endpoints import Endpoints
from services.user.passwords import SAFE_MEMORY_KIB, Passwords

PASSWORD: Final = "filled-password"  # noqa: S105  # of accounts that are nobody's
_EVERY: Final = 20_000
"""Orders from one line about progress to the next."""


def hash_password() -> str:
    """The hash that every filled account has, of `PASSWORD`."""
    return asyncio.run(Passwords(memory_kib=SAFE_MEMORY_KIB).hash(PASSWORD))


def fill_stack(console: Console, endpoints: Endpoints, shape: Shape) -> Filled:
    """Fill the databases of a stack that runs, and say how far it is."""
    began = time.monotonic()

    def report(orders: int) -> None:
        if orders % _EVERY == 0:
            console.print(f"{orders:,} of {shape.orders:,} orders after {time.monotonic() - began:.0f} s")

    filled = fill(endpoints.postgres, shape, on_progress=report)
    console.print(f"filled {shape.orders:,} orders in {time.monotonic() - began:.0f} s")
    return filled


def main() -> None:
    """Parse, fill, say who has what."""
    parser = argparse.ArgumentParser(prog="make fill", description=__doc__)
    parser.add_argument("--orders", type=int, default=10_000, help="how many (default 10,000)")
    parser.add_argument("--recent", type=int, help="of how many there are events, keys, … (default: all)")
    parser.add_argument("--open", type=int, default=0, help="how many are still to be paid (default 0)")
    parser.add_argument("--no-intents", action="store_true", help="payments without an intent of Stripe's")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn (default 0)")
    parser.add_argument("--var", type=Path, default=Path("var"), help="folder of the stack that runs (default var)")
    arguments = parser.parse_args()
    console = Console(highlight=False)
    endpoints = Endpoints.read(arguments.var / "endpoints.json")
    if endpoints is None:
        raise CommandFailed(f"No stack runs in {arguments.var}; `make up` starts one.")
    shape = Shape(
        orders=arguments.orders,
        until=datetime.now(UTC),
        seed=arguments.seed,
        recent=arguments.recent,
        open_orders=arguments.open,
        intents=not arguments.no_intents,
        password_hash=hash_password(),
    )
    filled = fill_stack(console, endpoints, shape)
    for number, who in {BIG: "a tenth of them", REGULAR: "a thousandth", OLD: "a few of the first"}.items():
        console.print(f"{filled.accounts[number].email}, password {PASSWORD}: {who}")


if __name__ == "__main__":
    run_and_exit(main)
