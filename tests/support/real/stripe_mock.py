"""Stripe's own mock server (https://github.com/stripe/stripe-mock).

It checks requests against Stripe's OpenAPI document and answers with fixtures, without any state. Go builds it once,
into a cache outside the tree.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from sandbox.child import Child, Command
from tests.support.programs import cached, go_install

VERSION: Final = "v0.203.0"
NEWEST_API_VERSION: Final = "2026-08-26.dahlia"
"""The newest that this version knows, where a parameter is one."""
PACKAGE: Final = "github.com/stripe/stripe-mock"
_LISTENS = re.compile(r"Listening for HTTP at address: (127\.0\.0\.1:[0-9]+)")


def _program() -> Path:
    folder = cached(f"stripe-mock-{VERSION}", lambda folder: go_install(folder, f"{PACKAGE}@{VERSION}"))
    return folder / "stripe-mock"


@asynccontextmanager
async def running_stripe_mock(folder: Path) -> AsyncIterator[str]:
    """Its address as an API base, as long as the context is open; the log is in `folder`."""
    command = Command(
        name="stripe-mock",
        # Left to itself it would listen on every interface.
        arguments=[str(_program()), "-http-addr", "127.0.0.1:", "-https-addr", "127.0.0.1:"],
        log=folder / "stripe-mock.log",
        environment=os.environ,
        folder=folder,
    )
    child = await Child.start(command)
    try:
        yield f"http://{await child.wait_for(_address(command.log), within=60)}"
    finally:
        await child.stop()


async def _address(log: Path) -> str:
    while (found := _LISTENS.search(log.read_text())) is None:  # noqa: ASYNC110  # a file has no event
        await asyncio.sleep(0.05)
    return found[1]
