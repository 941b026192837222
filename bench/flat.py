"""``make bench-flat``: what everything costs with few orders behind it, and with many.

Two stacks are filled (`bench.filling`), and asked the same in turns, never at once, because a machine's speed changes
within minutes. Compared are the CPU of a request (services and PostgreSQL's backends), that of an order until it is
PAID (all processes but the doubles), and CPU and blocks of the statements that run again and again; a row that grows by
more than a fifth is marked. At the end: bytes on disk per order. A million orders want some 15 GB of disk and a quarter
of an hour; of the newest third there are the events, keys, … that a retention is for, a million published rows in the
order service's outbox.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from typing import Final, TypeVar

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
from bench.stack import CONCURRENCIES, let_tokens_last
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
_ROUNDS: Final = 5
"""In which each is asked a part of the requests, in turns."""
_SETTLE: Final = 5.0
"""Seconds after filling, and after orders, for what came before to end."""
_Turn = TypeVar("_Turn")
_SIZES: Final = """
    SELECT relname, pg_total_relation_size(oid) FROM pg_class
     WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What was measured at one number of orders.

    Attributes:
        recent: of how many orders there are rows that a retention is for.
        rounds: milliseconds of CPU in each round, by what was done.
        blocks: by what was done; of statements alone.
        bytes_per_order: by database and table; of the tables that a retention is for, per order that has such rows.
    """

    orders: int
    recent: int
    rounds: dict[str, list[float]] = field(default_factory=dict)
    blocks: dict[str, float] = field(default_factory=dict)
    bytes_per_order: dict[str, float] = field(default_factory=dict)

    def note(self, name: str, cpu_ms: float) -> None:
        """Keep what a round of something took."""
        self.rounds.setdefault(name, []).append(cpu_ms)

    @property
    def cpu_ms(self) -> Mapping[str, float]:
        """Milliseconds of CPU, by what was done: the mean of the rounds, since a round is some ticks of the clock."""
        return {name: mean(rounds) for name, rounds in self.rounds.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Past:
    """A stack with so many orders behind it, and who asks it."""

    size: Size
    dsns: Mapping[str, str]
    watch: OrderWatch
    visitors: Visitors


@asynccontextmanager
async def _filled(console: Console, *, orders: int, var: Path) -> AsyncIterator[_Past]:
    """It is removed afterwards, whatever happens."""
    size = Size(orders=orders, recent=min(orders, _RECENT))
    shutil.rmtree(var, ignore_errors=True)
    try:
        async with Stack(var=var, ports=Ports.free()) as stack, OrderWatch(stack.endpoints.kafka) as watch:
            dsns = stack.endpoints.postgres
            shape = Shape(
                orders=orders,
                until=datetime.now(UTC),
                recent=size.recent,
                open_orders=min(_OPEN, orders // 10),
                password_hash=await asyncio.to_thread(hash_password),
            )
            filled = await asyncio.to_thread(fill_stack, console, stack.endpoints, shape)
            _weigh(size, dsns)
            await asyncio.to_thread(_put_off_retention, dsns)
            limits = httpx.Limits(max_connections=max(CONCURRENCIES))
            async with httpx.AsyncClient(base_url=stack.endpoints.gateway, timeout=60, limits=limits) as gateway:
                visitors = Visitors(stack.endpoints, filled, gateway)
                await visitors.sign_in()
                yield _Past(size=size, dsns=dsns, watch=watch, visitors=visitors)
    finally:
        shutil.rmtree(var, ignore_errors=True)


async def _measure_requests(console: Console, pasts: Sequence[_Past], *, repeats: int) -> None:
    asked = [await past.visitors.requests() for past in pasts]
    for number in range(_ROUNDS):
        for requests in zip(*asked, strict=True):
            for past, request in _in_turns(zip(pasts, requests, strict=True), number):
                used = await past.visitors.cpu_of(request, times=repeats // _ROUNDS)
                past.size.note(request.name, sum(used.values()))
                past.size.note(f"{request.name}: postgres", used["postgres"])
        console.print(f"requests: round {number + 1} of {_ROUNDS}")
    for number in range(_ROUNDS):
        for past in _in_turns(pasts, number):
            placed = await past.visitors.place(repeats // _ROUNDS, past.watch)
            past.size.note("order until PAID", sum(ms for name, ms in placed.items() if name not in LISTED_APART))
            past.size.note("order until PAID: services", placed["services"])
            past.size.note("order until PAID: postgres", placed["postgres"])
        console.print(f"orders: round {number + 1} of {_ROUNDS}")


async def _measure_statements(console: Console, pasts: Sequence[_Past]) -> None:
    for service, works in periodic_work().items():
        for name, work in works.items():
            for past in pasts:
                cost = await cost_of(past.dsns[service], work)
                past.size.note(f"{service}, {name}", cost.cpu_ms)
                past.size.blocks[f"{service}, {name}"] = cost.blocks
        console.print(f"statements of {service} are measured")


def _in_turns(each: Iterable[_Turn], number: int) -> Sequence[_Turn]:
    """Whoever was first is last the next time."""
    found = list(each)
    return found if number % 2 == 0 else found[::-1]


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
    """Both sizes, in turns."""
    let_tokens_last()
    with interrupted_by_signals():
        async with AsyncExitStack() as opened:
            pasts = [
                await opened.enter_async_context(_filled(console, orders=orders, var=var / str(orders)))
                for orders in (small, large)
            ]
            await asyncio.sleep(_SETTLE)
            await _measure_requests(console, pasts, repeats=repeats)
            await asyncio.sleep(_SETTLE)
            await _measure_statements(console, pasts)
        return [past.size for past in pasts]


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
