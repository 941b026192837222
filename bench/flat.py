"""``make bench-flat``: what everything costs with few orders behind it, and with many.

One stack after the other is started on a folder of its own, filled (`bench.filling`), asked, and removed. Compared are
the CPU of a request (services and PostgreSQL), that of an order until it is PAID (all processes but the doubles), and
CPU and blocks of the statements that run again and again; a row that grows by more than a fifth is marked. At the end:
bytes on disk per order. A million orders want some 10 GB of disk and half an hour; of the newest third there are the
events, keys, … that a retention is for, a million published rows in the order service's outbox.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import httpx
import psycopg
from rich.console import Console
from rich.table import Table

from bench.blocks import cost_of
from bench.figures import LISTED_APART
from bench.fill import fill_stack, hash_password
from bench.filling.shape import Shape
from bench.flat_requests import Visitors
from bench.flat_statements import periodic_work
from bench.stack import CONCURRENCIES
from bench.watch import OrderWatch
from cli.exiting import run_and_exit
from sandbox.ports import Ports
from sandbox.signals import interrupted_by_signals
from sandbox.supervisor import Stack

MOST: Final = 1.2
"""What costs so many times as much is marked."""
_LEVELS: Final = 4.0
"""Blocks more, at most, that a statement touches because indexes are a level higher: each has one, or two, of those
levels from 10 thousand orders to a million, and none of them costs what can be seen in CPU."""
_RECENT: Final = 340_000
_OPEN: Final = 100
_PERISHABLE: Final = frozenset({"outbox", "inbox", "provider_events", "idempotency_keys", "refresh_tokens"})
"""Tables whose rows a retention is for."""
_SETTLE: Final = 5.0
"""Seconds after filling, and after orders, for what came before to end."""
_SIZES: Final = """
    SELECT relname, pg_total_relation_size(oid) FROM pg_class
     WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What was measured at one number of orders.

    Attributes:
        recent: of how many orders there are rows that a retention is for.
        cpu_ms: by what was done.
        blocks: by what was done; of statements alone.
        bytes_per_order: by database and table; of the tables that a retention is for, per order that has such rows.
    """

    orders: int
    recent: int
    cpu_ms: dict[str, float] = field(default_factory=dict)
    blocks: dict[str, float] = field(default_factory=dict)
    bytes_per_order: dict[str, float] = field(default_factory=dict)


async def measure(console: Console, *, orders: int, repeats: int, var: Path) -> Size:
    """Measure on a stack of its own, which is removed afterwards, whatever happens."""
    size = Size(orders=orders, recent=min(orders, _RECENT))
    shutil.rmtree(var, ignore_errors=True)
    try:
        async with Stack(var=var, ports=Ports.free()) as stack, OrderWatch(stack.endpoints.kafka) as watch:
            shape = Shape(
                orders=orders,
                until=datetime.now(UTC),
                recent=size.recent,
                open_orders=min(_OPEN, orders // 10),
                password_hash=await asyncio.to_thread(hash_password),
            )
            filled = await asyncio.to_thread(fill_stack, console, stack.endpoints, shape)
            _weigh(size, stack.endpoints.postgres)
            await asyncio.to_thread(_put_off_retention, stack.endpoints.postgres)
            await asyncio.sleep(_SETTLE)
            limits = httpx.Limits(max_connections=max(CONCURRENCIES))
            async with httpx.AsyncClient(base_url=stack.endpoints.gateway, timeout=60, limits=limits) as gateway:
                visitors = Visitors(stack.endpoints, filled, gateway)
                await visitors.sign_in()
                for request in await visitors.requests():
                    used = await visitors.cpu_of(request, times=repeats)
                    size.cpu_ms[request.name] = sum(used.values())
                    size.cpu_ms[f"{request.name}: postgres"] = used["postgres"]
                    console.print(f"{orders:,} orders: {request.name} {size.cpu_ms[request.name]:.2f} ms")
                placed = await visitors.place(repeats, watch)
                size.cpu_ms["order until PAID"] = sum(ms for name, ms in placed.items() if name not in LISTED_APART)
                console.print(f"{orders:,} orders: an order until PAID {size.cpu_ms['order until PAID']:.2f} ms")
                size.cpu_ms["order until PAID: services"] = placed["services"]
                size.cpu_ms["order until PAID: postgres"] = placed["postgres"]
            await asyncio.sleep(_SETTLE)
            await _measure_statements(console, size, stack.endpoints.postgres)
        return size
    finally:
        shutil.rmtree(var, ignore_errors=True)


async def _measure_statements(console: Console, size: Size, dsns: Mapping[str, str]) -> None:
    for service, works in periodic_work().items():
        for name, work in works.items():
            cost = await cost_of(dsns[service], work)
            size.cpu_ms[f"{service}, {name}"], size.blocks[f"{service}, {name}"] = cost.cpu_ms, cost.blocks
        console.print(f"{size.orders:,} orders: statements of {service} are measured")


def _put_off_retention(dsns: Mapping[str, str]) -> None:
    """Nothing is deleted beside what is measured: of many orders some are older than what is kept."""
    for dsn in dsns.values():
        with psycopg.connect(dsn) as connection:
            connection.execute("UPDATE retention SET next_attempt_at = now() + interval '1 day'")


def _weigh(size: Size, dsns: Mapping[str, str]) -> None:
    for service, dsn in dsns.items():
        with psycopg.connect(dsn) as connection:
            for table, weight in connection.execute(_SIZES):
                per = size.recent if table in _PERISHABLE else size.orders
                size.bytes_per_order[f"{service}.{table}"] = weight / per


def report(console: Console, small: Size, large: Size) -> None:
    """As tables: what it costs at both sizes, and what an order weighs."""
    table = Table("", *(f"{each.orders:,}" for each in (small, large)), "ratio", "")
    for title, latitude, before, after in (
        ("CPU ms", 0.0, small.cpu_ms, large.cpu_ms),
        ("blocks", _LEVELS, small.blocks, large.blocks),
    ):
        for name in after:
            ratio = f"{after[name] / before[name]:.2f}" if before[name] else ""
            mark = "[red]grows[/]" if _grows(before[name], after[name], latitude) else ""
            table.add_row(f"{title}, {name}", f"{before[name]:.2f}", f"{after[name]:.2f}", ratio, mark)
    console.print(table)
    weights = Table("bytes per order", f"{large.orders:,}")
    for name, weight in sorted(large.bytes_per_order.items(), key=lambda item: -item[1]):
        if weight >= 1:
            weights.add_row(name, f"{weight:,.0f}")
    outboxes = sum(weight for name, weight in large.bytes_per_order.items() if name.endswith(".outbox"))
    kept = sum(weight for name, weight in large.bytes_per_order.items() if name.split(".")[1] not in _PERISHABLE)
    whole = sum(large.bytes_per_order.values())
    weights.add_row("all", f"{whole:,.0f}")
    weights.add_row("without outbox", f"{whole - outboxes:,.0f}")
    weights.add_row("without all that a retention is for", f"{kept:,.0f}")
    console.print(weights)


def grown(small: Size, large: Size) -> list[str]:
    """What costs more than `MOST` times as much."""
    return [
        *(f"CPU, {name}" for name, after in large.cpu_ms.items() if _grows(small.cpu_ms[name], after, 0.0)),
        *(f"blocks, {name}" for name, after in large.blocks.items() if _grows(small.blocks[name], after, _LEVELS)),
    ]


def _grows(before: float, after: float, latitude: float) -> bool:
    return after > before * MOST and after > before + latitude


async def run(console: Console, *, small: int, large: int, repeats: int, var: Path) -> list[Size]:
    """Both sizes, one after the other."""
    with interrupted_by_signals():
        return [
            await measure(console, orders=orders, repeats=repeats, var=var / str(orders)) for orders in (small, large)
        ]


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="make bench-flat", description=__doc__)
    parser.add_argument("--small", type=int, default=10_000, help="orders of the first stack (default 10,000)")
    parser.add_argument("--large", type=int, default=1_000_000, help="of the second (default 1,000,000)")
    parser.add_argument("--repeats", type=int, default=200, help="of each request, and orders placed (default 200)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--var", type=Path, default=Path("var/bench-flat"), help="folder of the stacks, emptied first")
    given = parser.parse_args()
    console = Console(highlight=False)
    small, large = asyncio.run(
        run(console, small=given.small, large=given.large, repeats=given.repeats, var=given.var.absolute())
    )
    report(console, small, large)
    if given.json is not None:
        data = {"small": asdict(small), "large": asdict(large), "grown": grown(small, large)}
        given.json.write_text(json.dumps(data, indent=2) + "\n")


if __name__ == "__main__":
    run_and_exit(main)
