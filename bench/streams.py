"""``make bench-streams``: what open streams of orders' events cost, on a stack that has a process for each part.

Each stream follows an order of its own that waits for its payment. They are opened at a steady rate beside somebody who
reads an order again and again: as before all of it, and with all of them open. At the end some of the orders are
cancelled, and their streams must say so.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx
from rich.console import Console
from rich.table import Table

from bench.cpu import cpu_seconds, spent
from bench.figures import Percentiles
from bench.footprint import Footprint
from cli.demo.model import Customer, Line
from cli.demo.shop import Shop
from cli.exiting import CommandFailed, run_and_exit
from domain.ids import new_id
from sandbox.endpoints import Endpoints
from sandbox.ports import Ports
from sandbox.signals import interrupted_by_signals
from sandbox.supervisor import Stack

PARTS: Final = ("gateway", "order")
CUSTOMERS: Final = 10
_AT_ONCE: Final = 10
"""Orders that are placed at a time."""
_SPARE: Final = 200
_SETTLE: Final = 5.0
"""Seconds before anything is measured, for what came before to end."""
_READ_PAUSE: Final = 0.02
_WINDOW: Final = 3_600
_CANCELLED: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """An order, and who follows it."""

    customer: Customer
    order_id: str

    @property
    def headers(self) -> dict[str, str]:
        """What its customer's requests say."""
        return {"Authorization": f"Bearer {self.customer.token}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What was measured at a moment, and in the idle time behind it: CPU seconds per minute, and seconds of reads."""

    footprints: Mapping[str, Footprint]
    idle_cpu: Mapping[str, float]
    reads: Sequence[float]


@dataclass(slots=True)
class Reads:
    """How long reads took, seconds, and how they were answered."""

    seconds: list[float] = field(default_factory=list)
    failed: int = 0


class StreamBench:
    """Measures one stack."""

    def __init__(self, endpoints: Endpoints, orders: Sequence[Followed], console: Console, *, idle: float) -> None:
        self._endpoints = endpoints
        self._orders = orders
        self._console = console
        self._idle = idle
        self._pids = {part: endpoints.processes[part] for part in PARTS}
        self._opened = 0
        self._ended: dict[str, bytes] = {}

    async def run(self, *, rate: float, reads: int) -> None:
        """Measure before, while streams are opened, and with all of them; print."""
        async with httpx.AsyncClient(base_url=self._endpoints.gateway, timeout=60) as client:
            before = await self._state(client, reads)
            beside = Reads()
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(self._read_on(client, beside))
                streams = await self._open(tasks, rate=rate)
                reading.cancel()
                during = await self._state(client, reads)
                await self._cancel_some(client)
                for stream in streams:
                    stream.cancel()
            after = await self._state(client, reads)
        self._print(before, beside, during, after, rate=rate)

    async def _open(self, tasks: asyncio.TaskGroup, *, rate: float) -> list[asyncio.Task[None]]:
        began, streams = time.monotonic(), []
        for number, order in enumerate(self._orders):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            streams.append(tasks.create_task(self._follow(order)))
        async with asyncio.timeout(60):
            while self._opened < len(self._orders):  # noqa: ASYNC110  # no event
                await asyncio.sleep(0.05)
        return streams

    async def _follow(self, order: Followed) -> None:
        """Keep a stream open, as cheaply for this process as it can be, and keep the end of what it says."""
        gateway = urlsplit(self._endpoints.gateway)
        reader, writer = await asyncio.open_connection(gateway.hostname, gateway.port)
        head = "".join(f"{name}: {value}\r\n" for name, value in {"Host": "bench", **order.headers}.items())
        writer.write(f"GET /v1/orders/{order.order_id}/events HTTP/1.1\r\n{head}\r\n".encode())
        try:
            status = await reader.readline()
            if b" 200 " not in status:
                raise CommandFailed(f"a stream was answered {status.decode().strip()}")
            self._opened += 1
            last = b""
            while not last.endswith(b"0\r\n\r\n") and (piece := await reader.read(4_096)):
                last = (last + piece)[-1_024:]
            self._ended[order.order_id] = last
        finally:
            writer.close()

    async def _state(self, client: httpx.AsyncClient, reads: int) -> State:
        await asyncio.sleep(_SETTLE)
        footprints = {part: Footprint.of(pid) for part, pid in self._pids.items()}
        cpu, began = cpu_seconds(self._pids), time.monotonic()
        await asyncio.sleep(self._idle)
        minutes = (time.monotonic() - began) / 60
        idle = {part: used / minutes for part, used in spent(cpu, cpu_seconds(self._pids)).items()}
        measured = Reads()
        for _ in range(reads):
            await self._read(client, measured)
        if measured.failed:
            raise CommandFailed(f"{measured.failed} of {reads} reads failed")
        return State(footprints=footprints, idle_cpu=idle, reads=measured.seconds)

    async def _read_on(self, client: httpx.AsyncClient, reads: Reads) -> None:
        while True:
            await self._read(client, reads)

    async def _read(self, client: httpx.AsyncClient, reads: Reads) -> None:
        order, began = self._orders[0], time.monotonic()
        answer = await client.get(f"/v1/orders/{order.order_id}", headers=order.headers)
        reads.seconds.append(time.monotonic() - began)
        reads.failed += answer.status_code != 200
        await asyncio.sleep(_READ_PAUSE)

    async def _cancel_some(self, client: httpx.AsyncClient) -> None:
        """Cancel some of the orders, and see that their streams say so and end."""
        some = self._orders[1 : 1 + _CANCELLED]
        for order in some:
            headers = {**order.headers, "Idempotency-Key": new_id(), "Prefer": "wait=20"}
            (await client.post(f"/v1/orders/{order.order_id}/cancel", json={}, headers=headers)).raise_for_status()
        await asyncio.sleep(_SETTLE)
        told = sum(b'"CANCELLED"' in self._ended.get(order.order_id, b"") for order in some)
        if told < len(some):
            raise CommandFailed(f"{told} of {len(some)} streams said that their order was cancelled")

    def _print(self, before: State, beside: Reads, during: State, after: State, *, rate: float) -> None:
        count = len(self._orders)
        table = Table("figure", "before", f"with {count} streams", "after", show_header=True, box=None, pad_edge=False)
        states = (before, during, after)
        for part in PARTS:
            prints = [state.footprints[part] for state in states]
            table.add_row(f"{part}: RSS, MB", *(f"{its.rss:.1f}" for its in prints))
            table.add_row(f"{part}: PSS, MB", *(f"{its.pss:.1f}" for its in prints))
            table.add_row(f"{part}: threads", *(str(its.threads) for its in prints))
            table.add_row(f"{part}: CPU of an idle minute, s", *(f"{state.idle_cpu[part]:.2f}" for state in states))
        ms = [Percentiles.of(state.reads) for state in states]
        table.add_row("read of an order, ms, p50 / p99", *(f"{its.p50:.1f} / {its.p99:.1f}" for its in ms))
        self._console.print(table)
        more = sum(during.footprints[part].pss - before.footprints[part].pss for part in PARTS)
        quiet = Percentiles.of([*before.reads, *after.reads])
        self._console.print(f"memory (PSS) of {count} streams: {more:.1f} MB, {more / count * 1_000:.0f} kB each")
        self._console.print(f"p50 of a read, with streams over without: {ms[1].p50 / quiet.p50:.2f}")
        rushed = Percentiles.of(beside.seconds)
        self._console.print(
            f"while {rate:.0f} a second were opened: read p50 / p99 {rushed.p50:.1f} / {rushed.p99:.1f} ms, "
            f"{beside.failed} of {len(beside.seconds)} failed"
        )


@asynccontextmanager
async def placed_orders(endpoints: Endpoints, count: int) -> AsyncIterator[Sequence[Followed]]:
    """So many orders that wait for their payment, of some customers."""
    async with Shop(endpoints) as shop:
        product = await shop.add_product("Followed", price=1_000, units=count)
        customers = [await shop.add_customer(f"follower-{number}") for number in range(CUSTOMERS)]
        turns = asyncio.Semaphore(_AT_ONCE)

        async def place(number: int) -> Followed:
            customer = customers[number % CUSTOMERS]
            async with turns:
                lines = [Line(product_id=product.id, quantity=1)]
                order = await shop.order(customer, lines, window=_WINDOW)
            return Followed(customer=customer, order_id=order.id)

        yield await asyncio.gather(*map(place, range(count)))


async def run(console: Console, *, streams: int, rate: float, idle: float, reads: int, var: Path) -> None:
    """Measure on a fresh stack, and print."""
    shutil.rmtree(var, ignore_errors=True)
    of_each = -(-streams // CUSTOMERS)
    os.environ |= {
        "ORDERSAGA_HTTP_CONNECTIONS": str(streams + _SPARE),
        "ORDERSAGA_MAX_STREAMS": str(streams),
        "ORDERSAGA_MAX_STREAMS_PER_ACCOUNT": str(of_each),
        "ORDERSAGA_MAX_OPEN_ORDERS": str(of_each),
        "ORDERSAGA_ACCESS_TOKEN_TTL": str(_WINDOW),
    }
    with interrupted_by_signals():
        async with Stack(var=var, ports=Ports.free(), split=True) as stack:
            console.print(f"placing {streams} orders")
            async with placed_orders(stack.endpoints, streams) as orders:
                await StreamBench(stack.endpoints, orders, console, idle=idle).run(rate=rate, reads=reads)


def main() -> None:
    """Parse and measure."""
    parser = argparse.ArgumentParser(prog="make bench-streams", description=__doc__)
    parser.add_argument("--streams", type=int, default=1_000, help="open at a time (default 1000)")
    parser.add_argument("--rate", type=float, default=50, help="opened per second (default 50)")
    parser.add_argument("--idle", type=float, default=60, help="seconds of idleness to measure (default 60)")
    parser.add_argument("--reads", type=int, default=500, help="reads to measure, each time (default 500)")
    parser.add_argument(
        "--var", type=Path, default=Path("var/bench-streams"), help="folder of the stack, emptied first"
    )
    given = parser.parse_args()
    asyncio.run(
        run(
            Console(highlight=False),
            streams=given.streams,
            rate=given.rate,
            idle=given.idle,
            reads=given.reads,
            var=given.var.absolute(),
        )
    )


if __name__ == "__main__":
    run_and_exit(main)
