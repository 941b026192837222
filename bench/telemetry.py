"""``make bench-telemetry``: what it costs an order that people can see it, in turns on several stacks, never at once.

All of them run all the time, and CPU time is counted for the one alone that has the orders. What takes the spans, and
what asks for the metrics, is ours, in this process.
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

import httpx
from rich.console import Console
from rich.table import Table

from bench.sides import Side, checkout, side_of, side_on
from cli.exiting import run_and_exit
from runtime.http_server import http_server
from sandbox.endpoints import Endpoints
from sandbox.ports import HOST, Ports, free_port
from sandbox.signals import interrupted_by_signals
from sandbox.supervisor import Stack

_BEFORE: Final = "before"
_DARK: Final = "dark"
_SEEN: Final = "seen"
_TRACED: Final = "traced"
_NO_WATCH: Final = "86400"
"""ORDERSAGA_WATCH_INTERVAL that ends after the bench."""
_SCRAPE_INTERVAL: Final = 15.0
_GRACE: Final = 1.0


async def run(console: Console, *, orders: int, rounds: int, var: Path, before: Path | None) -> None:
    """Measure, and print.

    Args:
        console: where to.
        orders: per round.
        rounds: on each stack.
        var: absolute.
        before: a checkout of another version, absolute.
    """
    shutil.rmtree(var, ignore_errors=True)
    port = free_port()
    traces = {"ORDERSAGA_TRACING": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:{port}"}
    with interrupted_by_signals():
        async with AsyncExitStack() as opened:
            await opened.enter_async_context(http_server(_take, host=HOST, port=port, grace=_GRACE))
            sides: dict[str, Side] = {}
            if before is not None:
                sides[_BEFORE] = await opened.enter_async_context(side_of(before, var / _BEFORE))
            for name, settings, scraped in (
                (_DARK, {"ORDERSAGA_TRACING": "false", "ORDERSAGA_WATCH_INTERVAL": _NO_WATCH}, False),
                (_SEEN, {"ORDERSAGA_TRACING": "false", "ORDERSAGA_WATCH_INTERVAL": None}, True),
                (_TRACED, traces, True),
            ):
                sides[name] = await opened.enter_async_context(_side(var / name, settings, scraped=scraped))
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


@asynccontextmanager
async def _side(var: Path, environment: Mapping[str, str | None], *, scraped: bool) -> AsyncIterator[Side]:
    for name, value in environment.items():  # which its processes get, and nobody else any more
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    async with (
        Stack(var=var, ports=Ports.free()) as stack,
        side_on(stack.endpoints) as side,
        asyncio.TaskGroup() as tasks,
    ):
        scraping = tasks.create_task(_scrape(stack.endpoints)) if scraped else None
        yield side
        if scraping is not None:
            scraping.cancel()


async def _scrape(endpoints: Endpoints) -> None:
    """As Prometheus does."""
    async with httpx.AsyncClient(timeout=_SCRAPE_INTERVAL) as client:
        while True:
            for probe in dict.fromkeys(endpoints.probes.values()):
                (await client.get(f"{probe}/metrics")).raise_for_status()
            await asyncio.sleep(_SCRAPE_INTERVAL)


def _print(console: Console, sides: Mapping[str, Side]) -> None:
    first = next(iter(sides.values()))
    table = Table("CPU per order, ms", *sides, title=None)
    for process in first.rounds[0]:
        table.add_row(process, *(f"{side.median(process):.1f}" for side in sides.values()))
    table.add_row("in all, without doubles", *(f"{median(side.totals()):.1f}" for side in sides.values()))
    more = {
        name: median(its / least - 1 for least, its in zip(first.totals(), side.totals(), strict=True))
        for name, side in sides.items()
        if side is not first
    }
    table.add_row(f"more than {next(iter(sides))}", "", *(f"{share:+.1%}" for share in more.values()))
    console.print(table)
    console.print(f"Medians over {len(first.rounds)} rounds; in the last row, of the differences in each.")


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
    parser = argparse.ArgumentParser(
        prog="make bench-telemetry",
        description=f"Stacks: {_DARK}: no watcher, nobody asks for metrics; {_SEEN}: both, as by default; "
        f"{_TRACED}: traces, too; {_BEFORE}: another version, when one is given.",
    )
    parser.add_argument("--orders", type=int, default=200, help="orders per round (default 200)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds on each stack, in turns (default 5)")
    parser.add_argument("--before", type=Path, help="a checkout of another version, in which `make generate` was run")
    parser.add_argument(
        "--var", type=Path, default=Path("var/bench-telemetry"), help="folder of the stacks, emptied first"
    )
    given = parser.parse_args()
    before = given.before and checkout(given.before)
    console = Console(highlight=False)
    asyncio.run(run(console, orders=given.orders, rounds=given.rounds, var=given.var.absolute(), before=before))


if __name__ == "__main__":
    run_and_exit(main)
