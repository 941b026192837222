"""``make bench-overload``: what becomes of orders when more come than can be done.

The best rate is found before and after each load, by customers who wait for each order to be PAID: a machine's speed
changes within minutes. One, two and three times that rate come, whether or not earlier ones are done: from customers
who give up when they are turned away, or from ones who come again when the answer tells them to. Goodput is what is
PAID while the load lasts, within a bound of the request that was let in, by Kafka's word, per second. After each load
everything that was accepted has to end, and at the end the audit has to hold.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp
from rich.console import Console
from rich.table import Table

from bench.cpu import cpu_seconds, spent
from bench.figures import LISTED_APART, Percentiles
from bench.load import ADDRESS, Customers
from bench.stack import CONCURRENCIES, let_tokens_last, open_customers, processes_of
from bench.watch import OrderWatch
from cli.audit.run import audit
from cli.exiting import CommandFailed, run_and_exit
from domain.ids import new_id
from sandbox.ports import Ports
from sandbox.signals import interrupted_by_signals
from sandbox.supervisor import Stack

TIMES: Final = (1.0, 2.0, 3.0)
"""Of the best rate, what is offered."""
BOUND: Final = 10.0
"""Seconds from the request that was let in to PAID, past which an order is no good; so long a customer comes again."""
WARM_UP: Final = 10.0
"""Seconds of a load before its goodput is counted: the line is as long then as it is in the end."""
_GIVE_UP: Final = 15.0
"""What a customer waits for an answer, seconds."""
_END: Final = 120.0
"""What everything that was accepted gets to end after a load, seconds."""
_CONNECTIONS: Final = 900
"""At a time: fewer than the gateway holds."""
_PATIENT: Final = "come again as told"
_IMPATIENT: Final = "give up"
_ALL_OPEN: Final = 1_000_000
"""Unpaid orders that a customer of the bench may have: what is measured is the shop's own limit."""


@dataclass(slots=True)
class Offered:
    """One load, and what became of it; seconds.

    Attributes:
        times: of the best rate.
        obeys: whether customers who are turned away come again as they are told.
        sent: orders that customers wanted.
        answers: how their requests were answered: by status, or ``none``.
        ordered: when each accepted order was asked for, by its id: first, and by the request that was let in.
        accept: how long accepted orders took to be accepted, from the first request on.
        paid: how long they took to be PAID, from then on.
        seconds: how long it lasts once it is warm.
        good: orders that were PAID in that time, within `BOUND` of the request that was let in.
        lost: accepted orders that ended otherwise, or not at all.
        best: what can be done at most, orders per second: the mean of just before and just after it.
        settled: how long everything took to end once nothing came any more.
    """

    times: float
    obeys: bool
    seconds: float
    sent: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    ordered: dict[str, tuple[float, float]] = field(default_factory=dict)
    accept: list[float] = field(default_factory=list)
    paid: list[float] = field(default_factory=list)
    good: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    settled: float = 0.0
    cpu: Mapping[str, float] = field(default_factory=dict)
    best: float = 0.0

    @property
    def goodput(self) -> float:
        """Of them, per second of the load."""
        return self.good / self.seconds

    def in_words(self) -> str:
        """What came of it, in a line."""
        answers = ", ".join(f"{count} {status}" for status, count in sorted(self.answers.items()))
        accept, paid = Percentiles.of(self.accept or [0.0]), Percentiles.of(self.paid or [0.0])
        return (
            f"{self.times:g} times: {self.sent} orders wanted, answers {answers}; {len(self.paid)} paid, {self.good} "
            f"in time, {self.goodput:.1f}/s; accept p50 / p99 {accept.p50:.0f} / {accept.p99:.0f} ms, paid "
            f"{paid.p50:.0f} / {paid.p99:.0f} ms; all ended {self.settled:.1f} s later"
        )


class Crowd:
    """Customers who come at a steady rate, however the shop does.

    Their HTTP client has to cost the same with 900 connections as with one: else it is the load that gives way.
    """

    def __init__(
        self, gateway: aiohttp.ClientSession, *, tokens: Sequence[str], products: Sequence[str], watch: OrderWatch
    ) -> None:
        self._gateway = gateway
        self._tokens = tokens
        self._products = products
        self._watch = watch

    async def come(self, offered: Offered, *, rate: float) -> None:
        """Offer the load, and wait until everything that was accepted has ended.

        Raises:
            CommandFailed: something did not.
        """
        began = time.monotonic()
        coming: list[asyncio.Task[None]] = []
        for number in range(int(rate * (WARM_UP + offered.seconds))):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            coming.append(asyncio.create_task(self._order(offered, number)))
        await asyncio.gather(*coming)
        ended = time.monotonic()
        try:
            async with asyncio.timeout(_END):
                start = began + WARM_UP
                await asyncio.gather(*(self._follow(offered, order_id, start=start) for order_id in offered.ordered))
        except TimeoutError:
            open_orders = len(offered.ordered) - len(offered.paid) - offered.lost.total()
            raise CommandFailed(f"{open_orders} accepted orders had not ended {_END:.0f} s after the load") from None
        offered.settled = time.monotonic() - ended

    async def _order(self, offered: Offered, number: int) -> None:
        offered.sent += 1
        body = {
            "lines": [{"product_id": self._products[number % len(self._products)], "quantity": 1}],
            "currency": "EUR",
            "shipping_address": ADDRESS,
            "payment_method": "pm_card_visa",
        }
        token = self._tokens[number % len(self._tokens)]
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": new_id()}
        began = time.monotonic()
        while True:
            asked = time.monotonic()
            try:
                async with self._gateway.post("/v1/orders", json=body, headers=headers) as answer:
                    content = await answer.json()
            except (aiohttp.ClientError, TimeoutError):
                offered.answers["none"] += 1
                return
            offered.answers[str(answer.status)] += 1
            if answer.status in (201, 202):
                offered.ordered[content["id"]] = (began, asked)
                offered.accept.append(time.monotonic() - began)
                return
            if not offered.obeys or "Retry-After" not in answer.headers:
                return
            pause = float(answer.headers["Retry-After"])
            if time.monotonic() + pause - began > BOUND:
                return
            await asyncio.sleep(pause)

    async def _follow(self, offered: Offered, order_id: str, *, start: float) -> None:
        how, seen = await self._watch.closed(order_id)
        began, let_in = offered.ordered[order_id]
        if how == "order.paid":
            offered.paid.append(seen - began)
            offered.good += start <= seen <= start + offered.seconds and seen - let_in <= BOUND
        else:
            offered.lost[how] += 1


async def run(console: Console, *, orders: int, seconds: float, times: Sequence[float], var: Path) -> None:
    """Measure on a fresh stack, and print.

    Raises:
        CommandFailed: an accepted order did not end, or the audit found a disagreement.
    """
    shutil.rmtree(var, ignore_errors=True)
    let_tokens_last()
    os.environ["ORDERSAGA_MAX_OPEN_ORDERS"] = str(_ALL_OPEN)
    with interrupted_by_signals():
        async with (
            Stack(var=var, ports=Ports.free()) as stack,
            OrderWatch(stack.endpoints.kafka) as watch,
            open_customers(stack.endpoints, watch) as customers,
            aiohttp.ClientSession(
                stack.endpoints.gateway,
                timeout=aiohttp.ClientTimeout(total=_GIVE_UP),
                connector=aiohttp.TCPConnector(limit=_CONNECTIONS),
            ) as gateway,
        ):
            processes = {**processes_of(stack.endpoints), "load generator": os.getpid()}
            await customers.closed_loop(count=orders // 2, concurrency=CONCURRENCIES[0])
            rate = await _find_best(customers, orders)
            console.print(f"best: {rate:.1f}/s")
            crowd = Crowd(gateway, tokens=customers.tokens, products=customers.products, watch=watch)
            loads = []
            for obeys in (False, True):
                console.print(f"Customers who are turned away {_PATIENT if obeys else _IMPATIENT}:")
                for each in times:
                    load = Offered(times=each, obeys=obeys, seconds=seconds)
                    before = cpu_seconds(processes)
                    await crowd.come(load, rate=rate * each)
                    load.cpu = spent(before, cpu_seconds(processes))
                    rate_before, rate = rate, await _find_best(customers, orders)
                    load.best = (rate_before + rate) / 2
                    loads.append(load)
                    console.print(f"  {load.in_words()}")
            _, breaches = await audit(stack.settings)
            if breaches:
                raise CommandFailed(f"the audit found {len(breaches)} breaches, the first: {breaches[0]}")
    _print(console, loads)


async def _find_best(customers: Customers, orders: int) -> float:
    """Orders per second that are PAID while customers wait for each."""
    return (await customers.closed_loop(count=orders, concurrency=CONCURRENCIES[0])).rate


def _print(console: Console, loads: Sequence[Offered]) -> None:
    table = Table("customers", "offered", "turned away", "goodput", "best", "ratio", "CPU ms per PAID order", box=None)
    for load in loads:
        refused = sum(count for status, count in load.answers.items() if status not in ("201", "202"))
        used = sum(seconds for name, seconds in load.cpu.items() if name not in LISTED_APART)
        table.add_row(
            _PATIENT if load.obeys else _IMPATIENT,
            f"{load.times:g} x",
            f"{refused / max(load.answers.total(), 1):.0%}",
            f"{load.goodput:.1f}/s",
            f"{load.best:.1f}/s",
            f"{load.goodput / load.best:.2f}",
            f"{used / max(len(load.paid), 1) * 1_000:.0f}",
        )
    console.print(table)
    console.print(
        f"Good is PAID within {BOUND:.0f} s, under load; the best rate is that of before and after each load."
    )


def main() -> None:
    """Parse and measure."""
    parser = argparse.ArgumentParser(prog="make bench-overload", description=__doc__)
    parser.add_argument("--orders", type=int, default=300, help="orders per round that finds the best rate (300)")
    parser.add_argument("--seconds", type=float, default=60, help=f"seconds of each load after {WARM_UP:.0f} (60)")
    parser.add_argument("--times", type=float, nargs="+", default=TIMES, help="of the best rate, what is offered")
    parser.add_argument(
        "--var", type=Path, default=Path("var/bench-overload"), help="folder of the stack, emptied first"
    )
    given = parser.parse_args()
    console = Console(highlight=False)
    asyncio.run(run(console, orders=given.orders, seconds=given.seconds, times=given.times, var=given.var.absolute()))


if __name__ == "__main__":
    run_and_exit(main)
