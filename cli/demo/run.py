"""Runs the demo: start the stack, try every scenario, audit, stop."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from pathlib import Path

from rich.console import Console

from cli.audit.run import audit
from cli.demo.report import Report
from cli.demo.scenarios import SCENARIOS
from cli.demo.shop import Shop
from sandbox.ports import Ports
from sandbox.signals import interrupted_by_signals
from sandbox.supervisor import Stack


def run_demo(var: Path, *, json_file: Path | None) -> bool:
    """Drive real orders through a fresh stack under `var`; whether all ended as promised and all invariants hold.

    Raises:
        StackError: the stack did not start, or one of its processes died.
        DemoError: an order did not get to its end.
    """
    console = Console(highlight=False)
    began = time.monotonic()
    shutil.rmtree(var, ignore_errors=True)
    report = asyncio.run(_drive(var, console))
    report.print(console)
    if json_file is not None:
        json_file.write_text(json.dumps(report.to_data(), indent=2) + "\n")
    console.print(
        f"{report.verdict}; {time.monotonic() - began:.1f} s in all. Logs are in {var / 'log'}. "
        "`make up` starts a stack that stays."
    )
    return report.is_good


async def _drive(var: Path, console: Console) -> Report:
    began = time.monotonic()
    console.print("Starting PostgreSQL, Temporal, Kafka, a Stripe double, a mail sink, six services and the saga …")
    with interrupted_by_signals():
        async with Stack(var=var, ports=Ports.free()) as stack:
            console.print(f"Ready after {time.monotonic() - began:.1f} s. Placing orders at {stack.endpoints.gateway}")
            async with Shop(stack.endpoints) as shop:
                tried = await asyncio.gather(*(scenario(shop) for scenario in SCENARIOS))
            facts, breaches = await audit(stack.settings)
            return Report(
                outcomes=[outcome for several in tried for outcome in several],
                facts=facts,
                breaches=breaches,
                temporal_ui=stack.endpoints.temporal_ui,
            )
