"""The servers that the components need: PostgreSQL, Temporal and the Kafka broker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from sandbox.child import Child
from sandbox.errors import ChildDiedError


class Server(Protocol):
    """A server that can be started, and started again once it has ended."""

    async def start(self) -> Child:
        """Start it; return when it is ready.

        Raises:
            StackError: it did not start.
        """


class Servers:
    """Servers by name. One that ends although nobody stopped it is a failure of the stack.

    What is external is not among them.
    """

    def __init__(self, servers: Mapping[str, Server], *, on_failure: Callable[[ChildDiedError], None]) -> None:
        self._servers = servers
        self._on_failure = on_failure
        self._children: dict[str, Child] = {}
        self._watches: list[asyncio.Task[None]] = []

    @property
    def pids(self) -> Mapping[str, int]:
        """The process of each that was started."""
        return {name: child.pid for name, child in self._children.items()}

    async def start(self, name: str) -> None:
        """Start one; return when it is ready. One that is external is taken to be.

        Raises:
            StackError: it did not start.
        """
        if name not in self._servers:
            return
        child = self._children[name] = await self._servers[name].start()
        self._watches.append(asyncio.create_task(self._watch(child)))

    async def kill(self, name: str) -> None:
        """Kill one on purpose: that is no failure."""
        await self._children[name].kill()

    async def stop(self, *names: str) -> None:
        """Stop these, at the same time, as far as they were started. Can be repeated."""
        await asyncio.gather(*(self._children[name].stop() for name in names if name in self._children))

    async def join(self) -> None:
        """Wait until every server that was started has ended."""
        await asyncio.gather(*self._watches)

    async def _watch(self, child: Child) -> None:
        await child.wait()
        if not child.stopping:
            self._on_failure(child.death())
