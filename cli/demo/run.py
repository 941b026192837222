"""Runs the demo: start the stack, try every scenario, audit, stop."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from temporalio.client import Client

from cli.audit.run import audit
from cli.demo.report import Report
from cli.demo.scenarios import SCENARIOS, TROUBLED, Outcome
from cli.demo.shop import DemoError, Shop
from runtime.settings import Settings
from runtime.temporal import connect_temporal
from sandbox.folder import StackFolder
from sandbox.ports import Ports
from sandbox.signals import interrupted_by_signals
from sandbox.supervisor import Stack

_STACK_TRACE: Final = re.compile(r'^ *"stackTrace": "(?:[^"\\]|\\.)*",?\n', re.MULTILINE)
"""In a refusal's failure: it decides nothing at a replay, and names this machine's folders."""


def run_demo(var: Path, *, json_file: Path | None, histories: Path | None) -> bool:
    """Drive real orders through a fresh stack under `var`; whether all ended as promised and all invariants hold.

    Args:
        var: folder of the stack, emptied first.
        json_file: where the report goes as JSON.
        histories: folder for the history of each order's workflow, as `tests/replay` replays it.

    Raises:
        StackError: the stack did not start, or one of its processes died.
        DemoError: an order did not get to its end.
        Unavailable: the audit could not read something.
        SignalledError: Ctrl-C, or SIGTERM; everything is stopped.
    """
    console = Console(highlight=False)
    began = time.monotonic()
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
    StackFolder(var).release()  # refuses to go on when another demo runs here
    shutil.rmtree(var, ignore_errors=True)
    try:
        report = asyncio.run(_drive(var, console))
    except DemoError as error:
        raise DemoError(
            f"{error}\nThe log of the gateway and the services is {var / 'log' / 'services.log'}."
        ) from None
    if histories is not None:
        histories.mkdir(parents=True, exist_ok=True)
        for name, history in report.histories.items():
            (histories / f"{name}.json").write_text(history + "\n")
    report.print(console)
    if json_file is not None:
        json_file.write_text(json.dumps(report.to_data(), indent=2) + "\n")
    console.print(
        f"{report.summary}; {time.monotonic() - began:.1f} s in all. Logs are in {var / 'log'}. "
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
                for scenario in TROUBLED:
                    tried.append(await scenario(shop))
            outcomes = [outcome for several in tried for outcome in several]
            facts, breaches = await audit(stack.settings)
            return Report(
                outcomes=outcomes,
                histories=await fetch_histories(stack.settings, outcomes),
                facts=facts,
                breaches=breaches,
                temporal_ui=stack.endpoints.temporal_ui,
            )


async def fetch_histories(settings: Settings, outcomes: Sequence[Outcome]) -> dict[str, str]:
    """The history of every workflow, by the kind of workflow and how its order ended."""
    client = await connect_temporal(settings)
    histories = {}
    for outcome in outcomes:
        for workflow_id in outcome.workflow_ids:
            kind = workflow_id.partition("-")[0]
            name = f"{kind} {outcome.slug}".replace(" ", "-")
            histories[name] = await fetch_history(client, workflow_id)
    return histories


async def fetch_history(client: Client, workflow_id: str) -> str:
    """The history of a workflow's last run, as JSON without stack traces."""
    history = await client.get_workflow_handle(workflow_id).fetch_history()
    return _STACK_TRACE.sub("", history.to_json())
