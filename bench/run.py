"""``make bench``: whole orders beside bare sagas, on the same Temporal server, in turns, never at once.

Everything that `make up` starts is on: mail, relay, search attributes, the Stripe double. An order counts when an
independent consumer of Kafka saw it PAID, and only if the audit finds no disagreement at the end. The run is
void, exit 1, when the reference needs more than 16 history events: then the two are not comparable.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from rich.console import Console
from temporalio.client import Client

from bench.bare_saga import run_sagas
from bench.bare_worker import BareWorker
from bench.cpu import cpu_seconds, spent
from bench.database_cost import DatabaseCost
from bench.figures import Figures, Percentiles, RatePoint, per_order, with_total
from bench.load import Customers, Load
from bench.stack import CONCURRENCIES, open_customers, processes_of
from bench.watch import OrderWatch
from cli.audit.run import audit
from cli.exiting import CommandFailed
from domain.ids import new_id
from domain.saga import order_workflow_id
from sandbox.endpoints import Endpoints
from sandbox.ports import Ports
from sandbox.signals import interrupted_by_signals
from sandbox.supervisor import Stack

MOST_BARE_EVENTS: Final = 16
_GOOD_ENOUGH: Final = 0.95
HALF_RATE_SECONDS: Final = 15.0
RATE_SECONDS: Final = 10.0
SHARES: Final = (0.1, 0.25, 0.5, 0.7, 0.8, 0.9, 1.0)
"""Of the measured rate: where the latency is plotted."""


class BenchVoidError(CommandFailed):
    """The run cannot be compared; the message says why."""

    def __init__(self, why: str) -> None:
        super().__init__(f"The run is void: {why}")


async def run_bench(console: Console, *, orders: int, rounds: int, shares: Sequence[float], var: Path) -> Figures:
    """Measure on a fresh stack.

    Raises:
        BenchVoidError: the reference needs too many events, or the audit found a disagreement.
        SignalledError: Ctrl-C, or SIGTERM; everything is stopped.
    """
    shutil.rmtree(var, ignore_errors=True)
    with interrupted_by_signals():
        async with Stack(var=var, ports=Ports.free()) as stack, OrderWatch(stack.endpoints.kafka) as watch:
            client = await Client.connect(stack.endpoints.temporal)
            async with BareWorker(stack.endpoints.temporal) as bare, open_customers(stack.endpoints, watch) as shop:
                bench = _Bench(console, client, stack.endpoints, shop, bare)
                figures = await bench.measure(watch, orders=orders, rounds=rounds, shares=shares)
            _, breaches = await audit(stack.settings)
            if breaches:
                raise BenchVoidError(f"the audit found {len(breaches)} breaches, the first: {breaches[0]}")
            return figures


class _Bench:
    """One run against one stack."""

    def __init__(
        self, console: Console, client: Client, endpoints: Endpoints, shop: Customers, bare: BareWorker
    ) -> None:
        self._console = console
        self._client = client
        self._shop = shop
        self._bare_worker = bare
        self._kafka = endpoints.kafka
        self._endpoints = endpoints
        self._whole = {**processes_of(endpoints), "load generator": os.getpid()}
        self._bare = {"worker": bare.pid, "temporal": self._whole["temporal"], "client": os.getpid()}

    async def measure(self, watch: OrderWatch, *, orders: int, rounds: int, shares: Sequence[float]) -> Figures:
        """Warm up, find the best concurrencies, then alternate; last, the latency at these shares of the best rate."""
        await self._whole_round(orders // 4, concurrency=CONCURRENCIES[0])
        bare_events = await self._bare_events()
        if bare_events > MOST_BARE_EVENTS:
            raise BenchVoidError(f"a bare saga has {bare_events} events, more than {MOST_BARE_EVENTS}")
        best_bare = await self._best_concurrency("bare", orders)
        best_whole = await self._best_concurrency("whole", orders)
        bare, whole, database = [], [], []
        for number in range(1, rounds + 1):
            bare.append(await self._bare_round(orders, concurrency=best_bare))
            before = await DatabaseCost.read(self._endpoints)
            whole.append(await self._whole_round(orders, concurrency=best_whole))
            database.append((await DatabaseCost.read(self._endpoints)).since(before, orders=orders))
            rates = f"bare {bare[-1][0]:.1f}/s at {best_bare}, whole {whole[-1][0].rate:.1f}/s at {best_whole}"
            self._console.print(f"round {number}: {rates}, {whole[-1][0].retried} requests sent again")
        rate, bare_rate = median(load.rate for load, _ in whole), median(rate for rate, _ in bare)
        cpu = with_total(per_order([(len(load.orders), spent) for load, spent in whole]))
        bare_cpu = per_order([(orders, spent) for _, spent in bare])
        bare_total = sum(bare_cpu.values())
        watch.lags.clear()
        await self._shop.open_loop(rate=rate / 2, seconds=HALF_RATE_SECONDS)
        return Figures(
            orders_per_s=rate,
            bare_orders_per_s=bare_rate,
            ratio=rate / bare_rate,
            cpu_ms_per_order=cpu,
            bare_cpu_ms=bare_total,
            bare_cpu_ms_per_saga=bare_cpu,
            cpu_ratio=cpu["total"] / bare_total,
            accept_ms=Percentiles.of([seconds for load, _ in whole for seconds in load.accept]),
            end_to_end_ms=Percentiles.of([seconds for load, _ in whole for seconds in load.end_to_end]),
            events_per_order=await self._events_per_order(whole[-1][0].orders[:20]),
            database=DatabaseCost.median(database),
            bare_events=bare_events,
            outbox_lag_ms=Percentiles.of(watch.lags),
            bare_producer_lag_ms=Percentiles.of(await _producer_lags(self._kafka, rate=rate / 2 * 3)),
            latency_over_rate=[await self._latency_at(rate * share) for share in shares],
        )

    async def _best_concurrency(self, kind: str, orders: int) -> int:
        rates = {}
        for concurrency in CONCURRENCIES:
            if kind == "bare":
                rates[concurrency] = (await self._bare_round(orders // 2, concurrency=concurrency))[0]
            else:
                rates[concurrency] = (await self._whole_round(orders // 2, concurrency=concurrency))[0].rate
        measured = ", ".join(f"{rate:.1f}/s at {concurrency}" for concurrency, rate in rates.items())
        self._console.print(f"{kind}: {measured}")
        # more orders at once than the rate needs only wait for each other; two runs' latencies would say nothing
        return min(concurrency for concurrency, rate in rates.items() if rate >= max(rates.values()) * _GOOD_ENOUGH)

    async def _bare_round(self, count: int, *, concurrency: int) -> tuple[float, dict[str, float]]:
        before = cpu_seconds(self._bare)
        rate = await run_sagas(
            self._client, self._bare_worker.waits, count=count, concurrency=concurrency, name=f"bare-{new_id()}"
        )
        return rate, spent(before, cpu_seconds(self._bare))

    async def _whole_round(self, count: int, *, concurrency: int) -> tuple[Load, dict[str, float]]:
        before = cpu_seconds(self._whole)
        load = await self._shop.closed_loop(count=count, concurrency=concurrency)
        return load, spent(before, cpu_seconds(self._whole))

    async def _latency_at(self, rate: float) -> RatePoint:
        load = await self._shop.open_loop(rate=rate, seconds=RATE_SECONDS)
        self._console.print(f"at {rate:.1f}/s: {len(load.orders)} orders, {load.retried} requests sent again")
        return RatePoint(
            rate=rate, accept_ms=Percentiles.of(load.accept), end_to_end_ms=Percentiles.of(load.end_to_end)
        )

    async def _bare_events(self) -> int:
        name = f"bare-{new_id()}"
        await run_sagas(self._client, self._bare_worker.waits, count=1, concurrency=1, name=name)
        return len((await self._client.get_workflow_handle(f"{name}-0").fetch_history()).events)

    async def _events_per_order(self, order_ids: Sequence[str]) -> float:
        runs = [self._client.get_workflow_handle(order_workflow_id(order_id)) for order_id in order_ids]
        histories = [await run.fetch_history() for run in runs]
        return sum(len(history.events) for history in histories) / len(histories)


async def _producer_lags(bootstrap: str, *, rate: float) -> list[float]:
    """Seconds from send to arrival of a producer that does nothing else, at so many records per second."""
    topic = TopicPartition(f"bench-{new_id()}", 0)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, fetch_max_wait_ms=50, enable_auto_commit=False)
    await producer.start()
    await consumer.start()
    try:
        await producer.send_and_wait(topic.topic, b"first", partition=0)
        consumer.assign([topic])
        await consumer.seek_to_beginning(topic)
        await consumer.getone()
        count = int(rate * 5)

        async def send() -> None:
            began = time.monotonic()
            for number in range(count):
                await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
                await producer.send(topic.topic, str(time.time()).encode(), partition=0)

        sending = asyncio.create_task(send())
        lags = []
        for _ in range(count):
            record = await consumer.getone()
            lags.append(time.time() - float(record.value))
        await sending
        return lags
    finally:
        await producer.stop()
        await consumer.stop()


def _title(orders: int) -> str:
    return f"Latency over rate, {os.cpu_count()} cores for everything, {orders} orders a round before"


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--orders", type=int, default=300, help="orders per round (default 300)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each kind, in turns (default 5)")
    parser.add_argument("--var", type=Path, default=Path("var/bench"), help="folder of the stack, emptied first")
    parser.add_argument(
        "--plot", type=Path, help="also plot the latency over the rate into this PNG (wants matplotlib)"
    )
    arguments = parser.parse_args()
    console = Console(highlight=False)
    figures = asyncio.run(
        run_bench(
            console,
            orders=arguments.orders,
            rounds=arguments.rounds,
            shares=() if arguments.plot is None else SHARES,
            var=arguments.var,
        )
    )
    figures.print(console)
    if arguments.json is not None:
        data: Mapping[str, object] = figures.to_data()
        arguments.json.write_text(json.dumps(data, indent=2) + "\n")
    if arguments.plot is not None:
        from bench.latency_plot import plot_latency  # matplotlib is there only for those who plot

        plot_latency(figures.latency_over_rate, arguments.plot, title=_title(arguments.orders))
