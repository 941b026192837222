"""Releases whose workflow code differs: copies of the project with a change in it, and order workers that run them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sandbox.environment import process_environment
from sandbox.ports import free_port
from sandbox.processes import ROOT
from sandbox.replicas import Replica
from tests.support.client import StackClient
from tests.support.command import ordersaga
from tests.support.mutation import Mutation, copy_project

STEPS_SWAPPED: Final = Mutation(
    breaks="the payment is opened before the stock is reserved",
    file="workflows/order_saga.py",
    source="""            await self._reserve()
            payment = await self._open_payment(quote)
""",
    mutated="""            payment = await self._open_payment(quote)
            await self._reserve()
""",
    tests=[],
)
COMMIT_RAISES: Final = Mutation(
    breaks="the step past the pivot raises",
    file="workflows/order_saga.py",
    source="            await self._commit()\n",
    mutated='            raise KeyError("no such thing")\n',
    tests=[],
)
COMMIT_LATE: Final = Mutation(
    breaks="a day goes by before the stock is sold",
    file="workflows/order_saga.py",
    source="            await self._commit()\n",
    mutated="            await workflow.sleep(86_400)\n            await self._commit()\n",
    tests=[],
)


def release(folder: Path, *changes: Mutation) -> Path:
    """The project as it is, with these changes."""
    folder.mkdir()
    copy = copy_project(folder)
    for change in changes:
        change.apply(copy)
    return copy


@dataclass(slots=True, kw_only=True)
class Shop:
    """A running stack, further order workers beside its own, and the commands that an operator runs against it."""

    client: StackClient
    folder: Path
    workers: dict[str, Replica] = field(default_factory=dict)

    async def deploy(self, build_id: str, root: Path = ROOT) -> None:
        """Start an order worker of another version; return when it is ready."""
        settings = self.client.stack.settings.model_copy(update={"build_id": build_id, "probe_port": free_port()})
        self.workers[build_id] = worker = Replica(part="order-worker", settings=settings, folder=self.folder, root=root)
        await worker.start()

    async def run(self, *arguments: str, root: Path = ROOT) -> subprocess.CompletedProcess[str]:
        """Run an `ordersaga` command as somebody who may do everything."""
        parts = ("order", "payment", "order-worker", "deployment")
        environment = process_environment(self.client.stack.settings, *parts)
        return await asyncio.to_thread(ordersaga, *arguments, environment=environment, root=root)

    async def temporal(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Temporal's own command."""
        address = ("--address", self.client.stack.endpoints.temporal)
        return await asyncio.to_thread(
            subprocess.run,
            [str(ROOT / ".venv" / "bin" / "temporal"), *arguments, *address],
            capture_output=True,
            text=True,
            env=dict(os.environ),
            check=False,
        )

    async def versions(self) -> Mapping[str, Mapping[str, Any]]:
        """What `ordersaga deployment show` says of each."""
        shown = await self.run("deployment", "show", "--json")
        assert shown.returncode in (0, 1), shown.stderr
        return {version["build_id"]: version for version in json.loads(shown.stdout)}


@asynccontextmanager
async def versioned_shop(client: StackClient, folder: Path) -> AsyncIterator[Shop]:
    """Further workers are stopped at the end."""
    shop = Shop(client=client, folder=folder)
    try:
        yield shop
    finally:
        await asyncio.gather(*(worker.stop() for worker in shop.workers.values()))
