"""Every part of Ordersaga in two processes, which are replaced one by one, as a rolling update does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import httpx

from cli.serve import PARTS
from runtime.settings import Settings
from sandbox.child import Child
from sandbox.environment import process_environment
from sandbox.ports import address, free_port
from sandbox.postgres.databases import SERVICES
from sandbox.processes import ROOT, Group, Tier, group_command
from tests.support.busy_machine import slowdown

DRAIN_DELAY: Final = 1.0
GRPC_DEADLINE: Final = 60.0
"""Of calls, seconds: a machine that is busy is not what is tested."""
STOP_SECONDS: Final = 60.0
"""Past which a process that does not stop is killed, which no test takes for a stop."""
READY_SECONDS: Final = 60.0


@dataclass(slots=True, kw_only=True)
class Replica:
    """One of the processes of a part, always at the same addresses."""

    part: str
    settings: Settings
    folder: Path
    root: Path = ROOT
    """Where its code is."""
    is_going: bool = False
    """Whether it stops, has stopped, or is not ready yet."""
    _child: Child | None = None

    async def start(self) -> None:
        """Return when its probe says that it is ready."""
        group = Group(name=f"{self.part}-{self.settings.probe_port}", components=(self.part,), tier=Tier.SERVICE)
        environment = process_environment(self.settings, self.part)
        command = group_command(group, logs=self.folder, environment=environment)
        self._child = child = await Child.start(replace(command, grace=STOP_SECONDS, folder=self.root), append_log=True)
        child.release()
        await child.wait_for(self._ready(), within=READY_SECONDS * slowdown())
        self.is_going = False

    async def stop(self) -> None:
        """Ask it to stop, if it runs; it must do so by itself."""
        self.is_going = True
        child = self._child
        if child is None:
            return
        await child.stop()
        code = await child.wait()
        assert code == 0, f"{self.part} ended with {code}: {child.tail()}"

    async def replace(self) -> None:
        """Stop it, and start another in its place."""
        await self.stop()
        await self.start()

    async def _ready(self) -> None:
        url = f"http://{address(self.settings.probe_port or 0)}/readyz"
        async with httpx.AsyncClient(trust_env=False) as http:
            while True:
                try:
                    if (await http.get(url)).is_success:
                        return
                except httpx.TransportError:
                    pass  # it does not listen yet
                await asyncio.sleep(0.05)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicas:
    """All of them."""

    all: Sequence[Replica] = field(default_factory=list)

    def of(self, part: str) -> Sequence[Replica]:
        """The two of a part."""
        return [replica for replica in self.all if replica.part == part]


@asynccontextmanager
async def two_of_each(settings: Settings, *, gateway_port: int, folder: Path) -> AsyncIterator[Replicas]:
    """Two processes of every part, ready; one gateway listens on the port, where the Stripe double's events go."""
    listens = {service: [address(free_port()) for _ in range(2)] for service in SERVICES}
    everywhere = {
        **{f"{service}_address": ",".join(addresses) for service, addresses in listens.items()},
        "drain_delay": DRAIN_DELAY,
        "shutdown_grace": Settings.model_fields["shutdown_grace"].default,
        "database_pool_size": 3,
        "grpc_deadline": GRPC_DEADLINE,
    }
    gateways = [gateway_port, free_port()]
    replicas = Replicas(
        all=[
            Replica(
                part=part,
                settings=settings.model_copy(
                    update={
                        **everywhere,
                        **{f"{service}_listen": addresses[number] for service, addresses in listens.items()},
                        "gateway_port": gateways[number],
                        "probe_port": free_port(),
                    }
                ),
                folder=folder,
            )
            for part in PARTS
            for number in range(2)
        ]
    )
    try:
        async with asyncio.TaskGroup() as starting:
            for replica in replicas.all:
                starting.create_task(replica.start())
        yield replicas
    finally:
        await asyncio.gather(*(replica.stop() for replica in replicas.all))
