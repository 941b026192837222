"""`make up` as people use it: in a terminal, ended by Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from sandbox.processes import ROOT

UP_ON_FREE_PORTS = """
import asyncio, pathlib, sys
from sandbox.ports import Ports
from sandbox.up import up
asyncio.run(up(pathlib.Path(sys.argv[1]), Ports.free()))
"""
STOP_SECONDS = 10


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def read_until(process: subprocess.Popen[str], words: str) -> str:
    """What the process prints up to and with the line that has these words, or up to its end."""
    lines: list[str] = []
    while not lines or (lines[-1] and words not in lines[-1]):
        lines.append(process.stdout.readline() if process.stdout else "")
    return "".join(lines)


def test_ctrl_c_stops_the_stack_within_ten_seconds_and_leaves_no_process(tmp_path: Path) -> None:
    command = [sys.executable, "-c", UP_ON_FREE_PORTS, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True) as up:
        try:
            printed = read_until(up, "Ctrl-C stops it")
            endpoints = json.loads((tmp_path / "endpoints.json").read_text())
            pids = set(endpoints["processes"].values())
            assert {pid for pid in pids if is_alive(pid)} == pids

            os.killpg(up.pid, signal.SIGINT)  # a terminal's Ctrl-C goes to the whole process group
            exit_code = up.wait(STOP_SECONDS)
            printed += read_until(up, "Stopped in")
        finally:
            up.kill()

    assert exit_code == 0
    assert {pid for pid in pids if is_alive(pid)} == set()
    for address in ("gateway", "temporal_ui", "mailbox", "kafka"):
        assert endpoints[address] in printed
    assert "Stopped in" in printed
    assert not (tmp_path / "endpoints.json").exists()
