"""``python -m bench.versions NAME=CHECKOUT …``: what an order costs several versions, in turns, never at once.

The stacks of all run all the time, and CPU time is counted for the one alone that has the orders; each version goes
first as often as any other. So a change is measured alone: against the checkout that lacks it, on the same machine in
the same minutes. Each checkout has to have been set up by ``make generate``.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from bench.sides import Side, checkout, side_of
from bench.stack import let_tokens_last
from cli.exiting import CommandFailed, run_and_exit
from sandbox.signals import interrupted_by_signals


async def run(console: Console, versions: Mapping[str, Path], *, orders: int, rounds: int, var: Path) -> None:
    """Measure, and print.

    Args:
        console: where to.
        versions: name to checkout, absolute; the first is what the others are compared with.
        orders: per round.
        rounds: of each version.
        var: absolute, emptied first.
    """
    shutil.rmtree(var, ignore_errors=True)
    let_tokens_last()
    with interrupted_by_signals():
        async with AsyncExitStack() as opened:
            sides = {
                name: await opened.enter_async_context(side_of(folder, var / name)) for name, folder in versions.items()
            }
            for side in sides.values():
                await side.run(orders // 2)
                side.rounds.clear()
            names = list(sides)
            for number in range(rounds):
                for name in names[number % len(names) :] + names[: number % len(names)]:
                    await sides[name].run(orders)
                measured = ", ".join(f"{name} {side.totals()[-1]:.1f} ms" for name, side in sides.items())
                console.print(f"round {number + 1}: {measured}")
    _print(console, sides)


def _print(console: Console, sides: Mapping[str, Side]) -> None:
    first = next(iter(sides.values()))
    table = Table("CPU per order, ms", *sides)
    for process in first.rounds[0]:
        table.add_row(process, *(f"{side.median(process):.1f}" for side in sides.values()))
    table.add_row("in all, without doubles", *(f"{median(side.totals()):.1f}" for side in sides.values()))
    ratios = [
        median(its / firsts for firsts, its in zip(first.totals(), side.totals(), strict=True))
        for side in sides.values()
    ]
    table.add_row(f"ratio to {next(iter(sides))}", *(f"{ratio:.3f}" for ratio in ratios))
    console.print(table)
    console.print(f"Medians over {len(first.rounds)} rounds; in the last row, of the ratios in each.")


def _version(given: str) -> tuple[str, Path]:
    name, _, folder = given.partition("=")
    if not name or not folder:
        raise argparse.ArgumentTypeError(f"{given!r} is not NAME=CHECKOUT")
    return name, Path(folder)


def main() -> None:
    """Parse and measure."""
    parser = argparse.ArgumentParser(prog="python -m bench.versions", description="CPU per order of several versions.")
    parser.add_argument("versions", nargs="+", type=_version, metavar="NAME=CHECKOUT", help="two at least")
    parser.add_argument("--orders", type=int, default=200, help="orders per round (default 200)")
    parser.add_argument("--rounds", type=int, default=6, help="rounds of each version, in turns (default 6)")
    parser.add_argument(
        "--var", type=Path, default=Path("var/bench-versions"), help="folder of the stacks, emptied first"
    )
    given = parser.parse_args()
    versions = {name: checkout(folder) for name, folder in given.versions}
    if len(versions) < 2 or len(versions) < len(given.versions):
        raise CommandFailed("name two versions at least, each by a name of its own")
    console = Console(highlight=False)
    asyncio.run(run(console, versions, orders=given.orders, rounds=given.rounds, var=given.var.absolute()))


if __name__ == "__main__":
    run_and_exit(main)
