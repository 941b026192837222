"""`python -m bench.start_time`: seconds from `ordersaga up` to the first PAID order, grouped and split.

Each round starts both on a new folder, where PostgreSQL's data and six databases have to be made, and again on the
same one. A start counts from before Python is up; the order is placed with a card that pays at once.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from cli.demo.model import Line
from cli.demo.scenarios import VISA
from cli.demo.shop import DemoError, Shop
from domain.ids import new_id
from sandbox.endpoints import Endpoints
from sandbox.ports import Ports
from sandbox.processes import ROOT
from sandbox.settings import port_setting

MODES: Final[Mapping[str, tuple[str, ...]]] = {"grouped": (), "split": ("--split",)}
FOLDERS: Final = ("new", "used")
POLL_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One start and stop, in seconds."""

    ready: float
    paid: float
    stopped: float


async def measure(var: Path, options: Sequence[str]) -> Start:
    """Start the stack on the folder, drive an order to PAID, stop."""
    environment = {port_setting(listener): str(port) for listener, port in asdict(Ports.free()).items()}
    began = time.monotonic()
    up = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli.main", "up", "--var", str(var), *options),
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        endpoints = await _endpoints(var, up)
        ready = time.monotonic()
        await _drive_an_order(endpoints)
        paid = time.monotonic()
        up.terminate()
        await up.wait()
    finally:
        if up.returncode is None:
            up.kill()
            await up.wait()
    return Start(ready=ready - began, paid=paid - began, stopped=time.monotonic() - paid)


async def _endpoints(var: Path, up: asyncio.subprocess.Process) -> Endpoints:
    while True:
        endpoints = Endpoints.read(var / "endpoints.json")
        if endpoints is not None:
            return endpoints
        if up.returncode is not None:
            raise DemoError(f"`ordersaga up` ended with exit code {up.returncode}")
        await asyncio.sleep(POLL_SECONDS)


async def _drive_an_order(endpoints: Endpoints) -> None:
    async with Shop(endpoints) as shop:
        product = await shop.add_product("First mug", price=1_250, units=1)
        customer = await shop.add_customer(f"first-{new_id()}")
        lines = [Line(product_id=product.id, quantity=1)]
        placed = await shop.order(customer, lines, payment_method=VISA)
        order = await shop.wait_until_closed(customer, placed.id)
    if order.status != "PAID":
        raise DemoError(f"the first order is {order.status}: {order.reason}")


async def run(runs: int, console: Console) -> None:
    """Measure all kinds of start in turns, and print their medians."""
    starts: dict[tuple[str, str], list[Start]] = defaultdict(list)
    for number in range(1, runs + 1):
        for mode, options in MODES.items():
            with tempfile.TemporaryDirectory(prefix="ordersaga-bench-") as var:
                for folder in FOLDERS:
                    start = await measure(Path(var), options)
                    starts[mode, folder].append(start)
                    console.print(f"{number}/{runs} {mode}, {folder} folder: PAID after {start.paid:.1f} s")
    console.print(_table(starts, runs))


def _table(starts: Mapping[tuple[str, str], Sequence[Start]], runs: int) -> Table:
    table = Table(title=f"Seconds, median of {runs} (least to most)")
    for column in ("processes", "folder", "ready", "first PAID order", "stop"):
        table.add_column(column, no_wrap=True)
    for (mode, folder), measured in starts.items():
        columns = [[getattr(start, name) for start in measured] for name in ("ready", "paid", "stopped")]
        table.add_row(mode, folder, *(f"{statistics.median(c):.1f} ({min(c):.1f}–{max(c):.1f})" for c in columns))
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.start_time", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="rounds, of four starts each (default: 5)")
    asyncio.run(run(parser.parse_args().runs, Console(highlight=False)))
