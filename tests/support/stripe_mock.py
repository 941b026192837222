"""Stripe's own mock server (https://github.com/stripe/stripe-mock).

It checks requests against Stripe's OpenAPI document and answers with fixtures, without any state. Go builds it once,
into a cache outside the tree.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from sandbox.child import Child, Command

VERSION: Final = "v0.203.0"
NEWEST_API_VERSION: Final = "2026-08-26.dahlia"
"""The newest that this version knows, where a parameter is one."""
INSTALL: Final = f"go install github.com/stripe/stripe-mock@{VERSION}"
_LISTENS = re.compile(r"Listening for HTTP at address: (127\.0\.0\.1:[0-9]+)")


def stripe_mock_program() -> Path:
    """The program, built where it is not there yet; a test that wants it fails without Go."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ordersaga" / f"stripe-mock-{VERSION}"
    program = cache / "stripe-mock"
    if program.exists():
        return program
    if shutil.which("go") is None:
        pytest.fail(
            f"Go is missing: install it (https://go.dev/dl), then `{INSTALL}` is run by itself. Without it, set "
            "ORDERSAGA_WITHOUT=go.",
            pytrace=False,
        )
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        built = subprocess.run(INSTALL.split(), env={**os.environ, "GOBIN": folder}, capture_output=True, text=True)
        if built.returncode != 0:
            pytest.fail(f"`{INSTALL}` failed:\n{built.stderr[-2_000:]}", pytrace=False)
        (Path(folder) / "stripe-mock").rename(program)  # whole at once, should two build it side by side
    return program


@asynccontextmanager
async def running_stripe_mock(folder: Path) -> AsyncIterator[str]:
    """Its address as an API base, as long as the context is open; the log is in `folder`."""
    command = Command(
        name="stripe-mock",
        # Left to itself it would listen on every interface.
        arguments=[str(stripe_mock_program()), "-http-addr", "127.0.0.1:", "-https-addr", "127.0.0.1:"],
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
