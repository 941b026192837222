"""``make bench-scaling``: what an order costs with more copies of each part, and what a client sees when one dies.

Each set of copies has a stack of its own. They all run all the time, take orders in turns, never at once, and CPU time
is counted for the one alone that has the orders. On a machine with as many cores as one copy of each uses, more win
nothing: what is shown is what they lose.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Final

import httpx
from rich.console import Console
from rich.table import Table

from bench.cpu import cpu_seconds, spent
from bench.figures import LISTED_APART
from bench.load import Customers, Load
from bench.stack import CONCURRENCIES, let_tokens_last, open_customers
from bench.watch import OrderWatch
from bench.worker_calls import count_worker_calls
from cli.audit.run import audit
from cli.exiting import CommandFailed, run_and_exit
from sandbox.balancer import Balancer
from sandbox.ports import Ports
from sandbox.replicas import PARTS, Replicas, running_replicas
from sandbox.signals import interrupted_by_signals
from sandbox.supervisor import Stack

SETS: Final[Mapping[str, Mapping[str, int]]] = {
    "one of each": dict.fromkeys(PARTS, 1),
    "two order workers": {**dict.fromkeys(PARTS, 1), "order-worker": 2},
    "two of each": dict.fromkeys(PARTS, 2),
    "four of each": dict.fromkeys(PARTS, 4),
}
_MORTAL: Final = "two of each"
"""Where copies are killed."""
_SERVERS: Final = {"temporal": "temporal", "postgres": "postgres", "kafka": "kafka", "stripe-double": "doubles"}
_CONNECTIONS: Final = 8
"""To each service's database, for all copies of it together."""
_SHARE: Final = 0.4
"""Of the rate with one of each, at which copies are killed: the other one has to do its work as well."""
_AWAY: Final = 1.0
"""Seconds from a copy's death to the start of the next one."""
_AFTER: Final = 8.0
"""Seconds of orders from then on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """What clients saw of a copy that was killed under load.

    Attributes:
        orders: that were placed in these seconds; all of them were PAID.
        refused: answers 503, each followed by the same request.
        sent_again: requests that the load balancer sent to the other gateway.
        back_after: seconds from the death until the next one was ready.
        accept_ms: the median answer to a POST, and the slowest, with all repeats.
        paid_ms: likewise from the POST to PAID.
    """

    part: str
    orders: int
    refused: int
    sent_again: int
    back_after: float
    accept_ms: tuple[float, float]
    paid_ms: tuple[float, float]


class _Side:
    """One set of copies, and what an order cost it in each round, milliseconds of CPU by part."""

    def __init__(self, stack: Stack, replicas: Replicas, customers: Customers, balancer: Balancer) -> None:
        self.settings = stack.settings
        self.replicas = replicas
        self.customers = customers
        self.balancer = balancer
        self._servers = {name: stack.endpoints.processes[name] for name in _SERVERS}
        self.rounds: list[Mapping[str, float]] = []
        self.rates: list[float] = []
        self.seconds: list[float] = []
        """That each order took of a round."""
        self.calls: list[Mapping[str, float]] = []
        """Of Temporal, by order workers, per order in each round."""
        self.idle: Mapping[str, float] = {}

    async def run(self, orders: int, *, concurrency: int) -> None:
        """One round of so many orders."""
        before, asked = self._cpu(), await self._count_calls()
        load = await self.customers.closed_loop(count=orders, concurrency=concurrency)
        used, asked_by_now = spent(before, self._cpu()), await self._count_calls()
        self.rounds.append({label: seconds / orders * 1_000 for label, seconds in used.items()})
        self.rates.append(load.rate)
        self.seconds.append(load.elapsed / orders)
        self.calls.append({what: (number - asked[what]) / orders for what, number in asked_by_now.items()})

    def forget(self) -> None:
        """Forget the rounds so far."""
        self.rounds.clear()
        self.rates.clear()
        self.seconds.clear()
        self.calls.clear()

    async def rest(self, seconds: float) -> None:
        """Measure what it costs without orders, milliseconds of CPU per second."""
        before = self._cpu()
        await asyncio.sleep(seconds)
        self.idle = {label: used / seconds * 1_000 for label, used in spent(before, self._cpu()).items()}

    def totals(self) -> list[float]:
        """What all together used in each round that a shop runs."""
        return [_total(used) for used in self.rounds]

    def totals_of_work(self) -> list[float]:
        """The same without what goes by the clock, of which an order has the more, the fewer there are a second."""
        idle = _total(self.idle)
        return [total - idle * seconds for total, seconds in zip(self.totals(), self.seconds, strict=True)]

    async def _count_calls(self) -> Mapping[str, int]:
        workers = self.replicas.of("order-worker")
        return await count_worker_calls(worker.settings.probe_port or 0 for worker in workers)

    def _cpu(self) -> Mapping[str, float]:
        copies = {str(number): copy for number, copy in enumerate(self.replicas.all)}
        pids = {number: copy.pid for number, copy in copies.items()}
        used: dict[str, float] = defaultdict(float)
        for name, seconds in cpu_seconds({**pids, **self._servers}).items():
            used[copies[name].part if name in copies else _SERVERS[name]] += seconds
        return used


async def run(
    console: Console, names: Sequence[str], *, orders: int, rounds: int, concurrency: int, var: Path
) -> Mapping[str, object]:
    """Measure, print, and return the figures.

    Args:
        console: where to.
        names: of the sets; the others are compared with the first.
        orders: per round.
        rounds: on each set.
        concurrency: orders at once.
        var: absolute; emptied first.

    Raises:
        CommandFailed: an audit found a disagreement.
    """
    shutil.rmtree(var, ignore_errors=True)
    let_tokens_last()
    with interrupted_by_signals():
        async with AsyncExitStack() as opened:
            sides: dict[str, _Side] = {}
            for name in names:
                counts = SETS[name]
                folder = var / name.replace(" ", "-")
                sides[name] = await opened.enter_async_context(_side(folder, counts, concurrency=concurrency))
                console.print(f"{name}: {sum(counts.values())} processes are ready")
            for side in sides.values():
                await side.run(orders // 2, concurrency=concurrency)
                side.forget()
            for number in range(rounds):
                for name in [*names[number % len(names) :], *names[: number % len(names)]]:
                    await sides[name].run(orders, concurrency=concurrency)
                measured = ", ".join(f"{name} {side.totals()[-1]:.1f} ms" for name, side in sides.items())
                console.print(f"round {number + 1}: {measured}")
            for side in sides.values():
                await side.rest(_AFTER)
            rate = median(sides[names[0]].rates) * _SHARE
            deaths = [await _kill(sides[_MORTAL], part, rate=rate) for part in PARTS] if _MORTAL in sides else []
            for name, side in sides.items():
                _, breaches = await audit(side.settings)
                if breaches:
                    raise CommandFailed(f"{name}: the audit found {len(breaches)} breaches, the first: {breaches[0]}")
    _print_costs(console, sides)
    if deaths:
        _print_deaths(console, deaths, rate=rate)
    return {
        "sets": {
            name: {
                "rounds": side.rounds,
                "orders_per_s": side.rates,
                "seconds_per_order": side.seconds,
                "worker_calls": side.calls,
                "idle_ms_per_s": side.idle,
            }
            for name, side in sides.items()
        },
        "deaths": [asdict(death) for death in deaths],
    }


@asynccontextmanager
async def _side(var: Path, counts: Mapping[str, int], *, concurrency: int) -> AsyncIterator[_Side]:
    ports = Ports.free()
    limits = httpx.Limits(max_connections=concurrency)
    async with (
        Stack(var=var, ports=ports, parts=False) as stack,
        running_replicas(
            stack.settings.model_copy(update={"database_pool_size": _CONNECTIONS // counts["order"]}),
            counts=counts,
            gateway_port=ports.gateway,
            folder=var / "log",
        ) as replicas,
        OrderWatch(stack.endpoints.kafka) as watch,
    ):
        balancer = Balancer(replicas.of("gateway"), limits=limits)
        async with open_customers(stack.endpoints, watch, transport=balancer) as customers:
            yield _Side(stack, replicas, customers, balancer)


async def _kill(side: _Side, part: str, *, rate: float) -> Death:
    """Kill one copy of a part while orders come in at a steady rate, and start it again."""
    sent_again = side.balancer.sent_again
    loading = asyncio.create_task(side.customers.open_loop(rate=rate, seconds=_AWAY + _AFTER))
    copy = side.replicas.of(part)[0]
    await asyncio.sleep(_AWAY)
    died = time.monotonic()
    await copy.kill()
    await asyncio.sleep(_AWAY)
    await copy.start()
    back_after = time.monotonic() - died
    load: Load = await loading
    return Death(
        part=part,
        orders=len(load.orders),
        refused=load.retried,
        sent_again=side.balancer.sent_again - sent_again,
        back_after=back_after,
        accept_ms=_median_and_most(load.accept),
        paid_ms=_median_and_most(load.end_to_end),
    )


def _total(used: Mapping[str, float]) -> float:
    return sum(value for label, value in used.items() if label not in LISTED_APART)


def _median_and_most(seconds: Sequence[float]) -> tuple[float, float]:
    return median(seconds) * 1_000, max(seconds) * 1_000


def _print_costs(console: Console, sides: Mapping[str, _Side]) -> None:
    table = Table("CPU per order, ms", *sides)
    [(first_name, first_side), *_] = sides.items()
    for label in first_side.rounds[0]:
        table.add_row(label, *(f"{median(used[label] for used in side.rounds):.1f}" for side in sides.values()))
    for what, totals in (("in all", _Side.totals), ("without what goes by the clock", _Side.totals_of_work)):
        table.add_row(f"{what}, without doubles", *(f"{median(totals(side)):.1f}" for side in sides.values()))
        ratios = [
            median(its / least for least, its in zip(totals(first_side), totals(side), strict=True))
            for side in sides.values()
        ]
        table.add_row(f"ratio to {first_name}", *(f"{ratio:.2f}" for ratio in ratios))
    table.add_row("orders per second", *(f"{median(side.rates):.1f}" for side in sides.values()))
    table.add_row("without orders, ms per second", *(f"{_total(side.idle):.0f}" for side in sides.values()))
    for what in first_side.calls[0]:
        table.add_row(
            f"{what}, per order", *(f"{median(asked[what] for asked in side.calls):.2f}" for side in sides.values())
        )
    console.print(table)
    console.print(f"Medians over {len(first_side.rounds)} rounds in turns; the ratio is that of each round.")


def _print_deaths(console: Console, deaths: Sequence[Death], *, rate: float) -> None:
    table = Table(
        "killed, one of two", "orders", "503", "sent again", "back after, s", "answer, ms", "PAID, ms", title=None
    )
    for death in deaths:
        table.add_row(
            death.part,
            *(str(count) for count in (death.orders, death.refused, death.sent_again)),
            f"{death.back_after:.1f}",
            *(f"{usual:.0f} / {most:.0f}" for usual, most in (death.accept_ms, death.paid_ms)),
        )
    console.print(table)
    console.print(f"At {rate:.1f} orders per second; milliseconds are the median and the most; every order was PAID.")


def main() -> None:
    """Parse and measure."""
    parser = argparse.ArgumentParser(prog="make bench-scaling", description=__doc__)
    parser.add_argument("--orders", type=int, default=200, help="orders per round (default 200)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds on each set, in turns (default 5)")
    parser.add_argument(
        "--concurrency", type=int, default=CONCURRENCIES[0], help=f"orders at once (default {CONCURRENCIES[0]})"
    )
    parser.add_argument(
        "--sets", nargs="+", choices=SETS, default=list(SETS), metavar="SET", help=f"of these: {', '.join(SETS)}"
    )
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument(
        "--var", type=Path, default=Path("var/bench-scaling"), help="folder of the stacks, emptied first"
    )
    given = parser.parse_args()
    console = Console(highlight=False)
    figures = asyncio.run(
        run(
            console,
            given.sets,
            orders=given.orders,
            rounds=given.rounds,
            concurrency=given.concurrency,
            var=given.var.absolute(),
        )
    )
    if given.json is not None:
        given.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    run_and_exit(main)
