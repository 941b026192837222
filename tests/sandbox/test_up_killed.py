"""`ordersaga up` when things are killed: a process of its own, then the command itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest

from sandbox.child import is_alive
from sandbox.ports import Ports
from sandbox.processes import ROOT
from sandbox.settings import port_setting

STOP_SECONDS = 10


@contextmanager
def running_up(var: Path, ports: Ports) -> Iterator[subprocess.Popen[str]]:
    """`ordersaga up` as its own process."""
    environment = {port_setting(listener): str(port) for listener, port in asdict(ports).items()}
    command = [sys.executable, "-m", "cli.main", "up", "--var", str(var)]
    with subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **environment, "COLUMNS": "200"}, stdout=subprocess.PIPE, text=True
    ) as up:
        try:
            yield up
        finally:
            up.kill()


def line_with(up: subprocess.Popen[str], words: str) -> str:
    """The next line that has these words."""
    assert up.stdout is not None
    for line in up.stdout:
        if words in line:
            return line
    raise AssertionError(f"it ended, and never printed: {words}")


def processes(var: Path) -> dict[str, int]:
    pids: dict[str, int] = json.loads((var / "endpoints.json").read_text())["processes"]
    return pids


@pytest.mark.more
def test_a_killed_process_is_replaced_and_a_killed_stack_leaves_none(tmp_path: Path) -> None:
    ports = Ports.free()
    with running_up(tmp_path, ports) as up:
        line_with(up, "Ctrl-C stops it")
        before = processes(tmp_path)
        os.kill(before["gateway"], signal.SIGKILL)
        died = line_with(up, "services was ended by SIGKILL")
        line_with(up, "services is ready again")
        after = processes(tmp_path)
        up.kill()

    assert "starting it again in 0.5 s (attempt 1)" in died
    assert before["gateway"] != after["gateway"]
    assert before["order-worker"] == after["order-worker"]

    with running_up(tmp_path, ports) as up:  # at once: what was killed is still stopping
        line_with(up, "Ctrl-C stops it")
        assert [name for name, pid in after.items() if is_alive(pid)] == []
        last = processes(tmp_path)
        up.terminate()
        exit_code = up.wait(STOP_SECONDS)

    assert exit_code == 0
    assert [name for name, pid in last.items() if is_alive(pid)] == []
    assert not (tmp_path / "endpoints.json").exists()
