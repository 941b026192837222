"""A running stack, each component with a process of its own, and ways to break it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import pytest_asyncio

from cli.audit.run import audit
from tests.support.client import StackClient, running_stack, until


@dataclass(frozen=True, slots=True, kw_only=True)
class Chaos:
    """The stack, as its users see it, and the processes behind it.

    Names are those of `endpoints.json`: components ("order-worker", "gateway", …), "postgres", "temporal" and "kafka".
    """

    client: StackClient

    async def pid(self, name: str) -> int:
        """The process that runs it, or ran it last; after a restart the new one as soon as it is ready."""
        processes: dict[str, int] = json.loads((self.client.var / "endpoints.json").read_text())["processes"]
        return processes[name]

    async def kill(self, component: str) -> int:
        """SIGKILL a component; the stack starts it again. Its pid until then, for `until_back`."""
        pid = await self.pid(component)
        os.kill(pid, signal.SIGKILL)
        return pid

    async def until_back(self, component: str, *, killed: int) -> None:
        """Wait until a component is ready in another process than the killed one."""
        await until(lambda: self.pid(component), lambda pid: pid != killed)

    @asynccontextmanager
    async def down(self, name: str) -> AsyncIterator[None]:
        """SIGKILL a component or a server; it is down inside the context, and ready again after it."""
        await self.client.stack.take_down(name)
        try:
            yield
        finally:
            await self.client.stack.bring_back(name)

    @asynccontextmanager
    async def hanging(self, name: str) -> AsyncIterator[None]:
        """Stop a process without ending it: connections stay open, nothing answers."""
        pid = await self.pid(name)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    async def orders_agree(self) -> None:
        """Fail unless the audit finds that money, stock and orders agree."""
        _, breaches = await audit(self.client.stack.settings)
        assert breaches == []


@pytest.fixture(scope="module")
def limits() -> Mapping[str, str]:
    """Settings of the stack that are not its defaults, as environment variables; a module may have its own."""
    return {}


@pytest_asyncio.fixture(scope="module")
async def chaos(tmp_path_factory: pytest.TempPathFactory, limits: Mapping[str, str]) -> AsyncIterator[Chaos]:
    """One stack per test module: a test leaves it whole."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in limits.items():
            environment.setenv(name, value)
        async with running_stack(tmp_path_factory.mktemp("var"), split=True, restart=True) as client:
            yield Chaos(client=client)
