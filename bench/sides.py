"""Stacks that are measured in turns, each with what an order costs it: of this version, or of another checkout."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Final

from bench.cpu import cpu_seconds, spent
from bench.figures import LISTED_APART
from bench.load import Customers
from bench.stack import CONCURRENCIES, open_customers, processes_of
from bench.watch import OrderWatch
from cli.exiting import CommandFailed
from sandbox.endpoints import Endpoints
from sandbox.ports import Ports
from sandbox.settings import port_setting

_START_LIMIT: Final = 60.0


def checkout(given: Path) -> Path:
    """Another version's folder, absolute.

    Raises:
        CommandFailed: it was not set up.
    """
    folder = given.absolute()
    if not (folder / ".venv/bin/ordersaga").exists():
        raise CommandFailed(f"{folder} has no .venv/bin/ordersaga; run `make generate` there")
    return folder


class Side:
    """One of the stacks, and what an order cost it in each round, milliseconds of CPU by process."""

    def __init__(self, endpoints: Endpoints, customers: Customers) -> None:
        self._processes = processes_of(endpoints)
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


@asynccontextmanager
async def side_of(checkout: Path, var: Path) -> AsyncIterator[Side]:
    """Another version, with what it was installed with."""
    program = checkout / ".venv/bin/ordersaga"
    ports = {port_setting(name): str(port) for name, port in asdict(Ports.free()).items()}
    process = await asyncio.create_subprocess_exec(
        str(program),
        *("up", "--var", str(var)),
        cwd=checkout,
        env={**os.environ, **ports},
        stdout=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(_START_LIMIT):
            while (endpoints := Endpoints.read(var / "endpoints.json")) is None:
                if process.returncode is not None:
                    raise CommandFailed(f"{program} up ended with {process.returncode}")
                await asyncio.sleep(0.1)
        async with side_on(endpoints) as side:
            yield side
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
            await process.wait()


@asynccontextmanager
async def side_on(endpoints: Endpoints) -> AsyncIterator[Side]:
    """On a stack that runs."""
    async with OrderWatch(endpoints.kafka) as watch, open_customers(endpoints, watch) as customers:
        yield Side(endpoints, customers)
