"""``make bench-tracing``: what traces cost an order, in turns on two stacks: with them and without, never at once.

Both run all the time, and CPU time is counted for the one alone that has the orders. What takes the spans is ours, in
this process, and throws them away.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench.cpu import cpu_seconds, spent
from bench.figures import LISTED_APART
from bench.load import Customers
from bench.stack import CONCURRENCIES, open_customers, processes_of
from bench.watch import OrderWatch
from cli.exiting import run_and_exit
from runtime.http_server import http_server
from sandbox.ports import HOST, Ports, free_port
from sandbox.signals import interrupted_by_signals
from sandbox.supervisor import Stack

_OFF: Final = "off"
_ON: Final = "on"
_GRACE: Final = 1.0


class _Side:
    """One of the two stacks, and what an order cost it in each round, milliseconds of CPU by process."""

    def __init__(self, stack: Stack, customers: Customers) -> None:
        self._processes = processes_of(stack.endpoints)
        self._customers = customers
        self.rounds: list[Mapping[str, float]] = []

    async def run(self, orders: int) -> None:
        """One round of so many orders."""
        before = cpu_seconds(self._processes)
        await self._customers.closed_loop(count=orders, concurrency=CONCURRENCIES[0])
        used = spent(before, cpu_seconds(self._processes))
        self.rounds.append({name: seconds / orders * 1_000 for name, seconds in used.items()})

    def median(self, name: str) -> float:
        """What one process used."""
        return median(used[name] for used in self.rounds)

    def totals(self) -> list[float]:
        """What all together used in each round that a shop runs."""
        return [sum(ms for name, ms in used.items() if name not in LISTED_APART) for used in self.rounds]


async def run(console: Console, *, orders: int, rounds: int, var: Path) -> None:
    """Measure, and print."""
    shutil.rmtree(var, ignore_errors=True)
    port = free_port()
    with interrupted_by_signals():
        async with AsyncExitStack() as opened:
            await opened.enter_async_context(http_server(_take, host=HOST, port=port, grace=_GRACE))
            settings = {"ORDERSAGA_TRACING": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:{port}"}
            sides = {
                _OFF: await opened.enter_async_context(_side(var / _OFF, {"ORDERSAGA_TRACING": "false"})),
                _ON: await opened.enter_async_context(_side(var / _ON, settings)),
            }
            for side in sides.values():
                await side.run(orders // 2)
                side.rounds.clear()
            for number in range(rounds):
                names = (_OFF, _ON) if number % 2 == 0 else (_ON, _OFF)
                for name in names:
                    await sides[name].run(orders)
                measured = ", ".join(f"{name} {side.totals()[-1]:.1f} ms" for name, side in sides.items())
                console.print(f"round {number + 1}: {measured}")
    _print(console, sides)


@asynccontextmanager
async def _side(var: Path, environment: Mapping[str, str]) -> AsyncIterator[_Side]:
    os.environ.update(environment)  # which its processes get, and nobody else any more
    async with (
        Stack(var=var, ports=Ports.free()) as stack,
        OrderWatch(stack.endpoints.kafka) as watch,
        open_customers(stack.endpoints, watch) as customers,
    ):
        yield _Side(stack, customers)


def _print(console: Console, sides: Mapping[str, _Side]) -> None:
    off, on = sides[_OFF], sides[_ON]
    table = Table("CPU per order, ms", "traces off", "on", title=None)
    for name in off.rounds[0]:
        table.add_row(name, f"{off.median(name):.1f}", f"{on.median(name):.1f}")
    table.add_row("in all, without doubles", f"{median(off.totals()):.1f}", f"{median(on.totals()):.1f}")
    console.print(table)
    more = median(with_them / without - 1 for without, with_them in zip(off.totals(), on.totals(), strict=True))
    console.print(f"Traces cost {more:+.1%} of CPU, the median over {len(on.rounds)} rounds.")


async def _take(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """A collector, as ASGI has it: takes everything, keeps nothing."""
    more = True
    while more:
        message = await receive()
        if scope["type"] == "lifespan":
            await send({"type": f"{message['type']}.complete"})
            more = message["type"] != "lifespan.shutdown"
        else:
            more = message.get("more_body", False)
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


def main() -> None:
    """Parse and measure."""
    parser = argparse.ArgumentParser(prog="make bench-tracing", description=__doc__)
    parser.add_argument("--orders", type=int, default=200, help="orders per round (default 200)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds on each stack, in turns (default 5)")
    parser.add_argument(
        "--var", type=Path, default=Path("var/bench-tracing"), help="folder of the stacks, emptied first"
    )
    arguments = parser.parse_args()
    asyncio.run(run(Console(highlight=False), orders=arguments.orders, rounds=arguments.rounds, var=arguments.var))


if __name__ == "__main__":
    run_and_exit(main)
