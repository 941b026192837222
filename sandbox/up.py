"""`make up`: the embedded stack, left running."""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path

from rich.console import Console
from rich.table import Table

from sandbox.endpoints import Endpoints
from sandbox.external import External
from sandbox.ports import Ports
from sandbox.signals import SignalledError, interrupted_by_signals
from sandbox.supervisor import Stack


async def up(var: Path, ports: Ports, *, split: bool = False, external: Collection[External] = ()) -> None:
    """Run the stack until Ctrl-C or SIGTERM; print where everything is, and which process died and is back.

    Raises:
        StackError: it did not start, or cannot go on; everything is stopped again.
        SignalledError: Ctrl-C or SIGTERM came before it was ready; everything is stopped again.
    """
    console = Console()
    began = time.monotonic()
    was_ready = False
    try:
        with interrupted_by_signals(), console.status("Starting the stack") as status:
            stack = Stack(
                var=var,
                ports=ports,
                split=split,
                external=external,
                restart=True,
                on_update=lambda update: console.print(str(update), highlight=False),
            )
            async with stack:
                was_ready = True
                status.stop()
                console.print(_table(stack.endpoints, var))
                console.print(f"Ready after {time.monotonic() - began:.1f} s. Ctrl-C stops it.")
                try:
                    await stack.failed.wait()
                finally:
                    began = time.monotonic()
                    status.update("Stopping the stack")
                    status.start()
    except SignalledError:
        if not was_ready:
            raise
        console.print(f"Stopped in {time.monotonic() - began:.1f} s.")


def _table(endpoints: Endpoints, var: Path) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("Gateway", endpoints.gateway)
    table.add_row("API documentation", f"{endpoints.gateway}/docs")
    if endpoints.temporal_ui:
        table.add_row("Temporal Web UI", endpoints.temporal_ui)
    table.add_row("Mailbox", endpoints.mailbox)
    table.add_row("Kafka", endpoints.kafka)
    table.add_row("Stripe double", endpoints.stripe)
    table.add_row("Admin account", f"{endpoints.accounts['admin'].email}, password in {var / 'secrets.json'}")
    table.add_row("All addresses", str(var / "endpoints.json"))
    table.add_row("Logs", str(var / "log"))
    return table
