"""A part as a process of its own, as `ordersaga serve` runs it."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from sandbox.ports import free_port
from sandbox.processes import ROOT
from tests.support.busy_machine import slowdown
from tests.support.identities import tls_settings

TIMEOUT = 30


class ServedPart:
    """A running part, and its probes."""

    def __init__(self, part: str, process: subprocess.Popen[bytes], probes: str, log: Path) -> None:
        self.process = process
        self.log = log
        self._part = part
        self._probes = probes

    def readiness(self) -> tuple[int, dict[str, Any]]:
        """Status of the probe, and what it says of the part."""
        answer = httpx.get(f"{self._probes}/readyz")
        return answer.status_code, answer.json()["parts"][self._part]

    def is_alive(self) -> bool:
        """Whether it answers at all."""
        return httpx.get(f"{self._probes}/livez").status_code == 200

    def metrics(self) -> str:
        """What it counted, in Prometheus's text format."""
        return httpx.get(f"{self._probes}/metrics").text

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until it is so; a probe that does not answer yet is waited for, a process that has ended is not."""
        began = time.monotonic()
        while True:
            try:
                if condition():
                    return
            except httpx.TransportError:
                assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() - began < TIMEOUT * slowdown(), self.log.read_text()
            time.sleep(0.05)


@contextmanager
def served(
    part: str, folder: Path, settings: Mapping[str, object], *, descriptors: int | None = None
) -> Iterator[ServedPart]:
    """The part with these settings, its log in the folder; it may open so many files at a time."""
    port = free_port()
    given = {"probe_port": port, **tls_settings(), **settings}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ORDERSAGA_")}
    ours = {f"ORDERSAGA_{name.upper()}": str(value) for name, value in given.items()}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "serve", part],
            cwd=ROOT,
            env=kept | ours,
            stdout=log,
            stderr=log,
            preexec_fn=None if descriptors is None else lambda: _limit(descriptors),
        )
    try:
        yield ServedPart(part, process, f"http://127.0.0.1:{port}", folder / "log")
    finally:
        process.kill()
        process.wait()


def _limit(descriptors: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
