"""Several processes of every part over the servers of one stack: each can be replaced, killed and started again.

The stack itself runs none of our parts then (``Stack(parts=False)``). Every service is called by the list of its
copies' addresses, or by a name that stands for those that are there; each copy always listens at the same one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import httpx

from runtime.settings import Settings
from sandbox.child import Child
from sandbox.environment import process_environment
from sandbox.errors import ChildDiedError
from sandbox.names import NameServer
from sandbox.ports import address, free_ports
from sandbox.postgres.databases import SERVICES
from sandbox.processes import GROUPED, ROOT, Group, Tier, group_command

PARTS: Final = tuple(part for group in GROUPED if group.tier is not Tier.DOUBLE for part in group.components)
DRAIN_DELAY: Final = 1.0
STOP_SECONDS: Final = 60.0
"""Past which a process that does not stop is killed, which nobody takes for a stop."""
READY_SECONDS: Final = 60.0
_POLL: Final = 0.05


@dataclass(slots=True, kw_only=True)
class Replica:
    """One of the processes of a part, always at the same addresses.

    Attributes:
        part: what it runs.
        settings: of its next start.
        folder: of its log.
        root: where its code is.
        ready_within: seconds that a start may take.
        is_going: whether it stops, has stopped, was killed, or is not ready yet.
        on_change: called when it has become ready, and when it goes.
    """

    part: str
    settings: Settings
    folder: Path
    root: Path = ROOT
    ready_within: float = READY_SECONDS
    is_going: bool = True
    on_change: Callable[[], None] = lambda: None
    _child: Child | None = None

    @property
    def pid(self) -> int:
        """The process that runs it, or ran it last."""
        if self._child is None:
            raise LookupError(f"{self.part} was never started")
        return self._child.pid

    async def start(self) -> None:
        """Return when its probe says that it is ready.

        Raises:
            ChildDiedError: it ended instead.
            NotReadyError: it is not ready in time.
        """
        group = Group(name=f"{self.part}-{self.settings.probe_port}", components=(self.part,), tier=Tier.SERVICE)
        environment = process_environment(self.settings, self.part)
        command = group_command(group, logs=self.folder, environment=environment)
        self._child = child = await Child.start(replace(command, grace=STOP_SECONDS, folder=self.root), append_log=True)
        child.release()
        await child.wait_for(self._ready(), within=self.ready_within)
        self._set_going(is_going=False)

    async def stop(self) -> None:
        """Ask it to stop, if it runs.

        Raises:
            ChildDiedError: it did not do so by itself, in time and without an error.
        """
        child = self._child
        if child is None or child.stopping:
            return
        self._set_going(is_going=True)
        await child.stop()
        if await child.wait() != 0:
            raise child.death()

    async def kill(self) -> None:
        """End it by SIGKILL; it has no time to say a word."""
        self._set_going(is_going=True)
        if self._child is not None:
            await self._child.kill()

    async def replace(self) -> None:
        """Stop it, and start another in its place."""
        await self.stop()
        await self.start()

    def _set_going(self, *, is_going: bool) -> None:
        self.is_going = is_going
        self.on_change()

    async def _ready(self) -> None:
        url = f"http://{address(self.settings.probe_port or 0)}/readyz"
        async with httpx.AsyncClient(trust_env=False) as http:
            while True:
                try:
                    if (await http.get(url)).is_success:
                        return
                except httpx.TransportError:
                    pass  # it does not listen yet
                await asyncio.sleep(_POLL)


@dataclass(frozen=True, slots=True)
class Replicas:
    """All of them."""

    all: Sequence[Replica]

    def of(self, part: str) -> Sequence[Replica]:
        """Those of a part."""
        return [replica for replica in self.all if replica.part == part]


@asynccontextmanager
async def running_replicas(
    settings: Settings,
    *,
    counts: Mapping[str, int],
    gateway_port: int,
    folder: Path,
    names: NameServer | None = None,
    ready_within: float = READY_SECONDS,
) -> AsyncIterator[Replicas]:
    """Processes of these parts, ready; at the end all are stopped.

    Args:
        settings: of a stack that runs none of our parts, with whatever is to be different.
        counts: how many of each part; of each service one at least, and nine at most.
        gateway_port: where the first gateway listens, which gets the Stripe double's events.
        folder: of their logs.
        names: has each service called by a name, under which it keeps those that are ready, each on a loopback address
            of its own (on Linux); else services are called by lists of addresses.
        ready_within: seconds that a start may take.

    Raises:
        ChildDiedError: one ended, or did not stop by itself.
        NotReadyError: one was not ready in time.
    """
    plan = _plan(settings, counts=counts, gateway_port=gateway_port, names=names)
    replicas = Replicas(
        [
            Replica(part=part, settings=own, folder=folder, ready_within=ready_within)
            for part, several in plan.items()
            for own in several
        ]
    )
    if names is not None:
        for replica in replicas.all:
            replica.on_change = partial(_name, names, replicas, replica.part)
    try:
        async with asyncio.TaskGroup() as starting:
            for replica in replicas.all:
                starting.create_task(replica.start())
        yield replicas
    finally:
        ended = await asyncio.gather(*(replica.stop() for replica in replicas.all), return_exceptions=True)
        for death in ended:
            if isinstance(death, ChildDiedError):
                raise death


def _plan(
    settings: Settings, *, counts: Mapping[str, int], gateway_port: int, names: NameServer | None
) -> Mapping[str, Sequence[Settings]]:
    """What each copy of each part is started with: addresses of its own, and where all copies of the others are."""
    ports = {part: free_ports(2 * count) for part, count in counts.items()}
    listens = {
        service: [address(port) for port in ports[service][: counts[service]]]
        if names is None
        else [f"{_loopback(number)}:{ports[service][0]}" for number in range(counts[service])]
        for service in SERVICES
    }
    everywhere: dict[str, object] = {
        **{
            f"{service}_address": ",".join(several)
            if names is None
            else names.target(_name_of(service), ports[service][0])
            for service, several in listens.items()
        },
        "drain_delay": DRAIN_DELAY,
        "shutdown_grace": Settings.model_fields["shutdown_grace"].default,
    }

    def own(part: str, number: int) -> Settings:
        changes = {**everywhere, "probe_port": ports[part][counts[part] + number]}
        if part in listens:
            changes[f"{part}_listen"] = listens[part][number]
        if part == "gateway":
            changes["gateway_port"] = ports[part][number] if number else gateway_port
        return settings.model_copy(update=changes)

    return {part: [own(part, number) for number in range(count)] for part, count in counts.items()}


def _name(names: NameServer, replicas: Replicas, part: str) -> None:
    """Let a service's name stand for those of its copies that are there."""
    if part in SERVICES:
        names.addresses[_name_of(part)] = [
            _loopback(number) for number, replica in enumerate(replicas.of(part)) if not replica.is_going
        ]


def _name_of(service: str) -> str:
    return f"{service}.ordersaga.test"


def _loopback(number: int) -> str:
    return f"127.0.0.{number + 1}"
