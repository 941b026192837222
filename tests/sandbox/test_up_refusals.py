"""What `ordersaga up` says when it cannot start: in words, with exit code 2."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from runtime.settings import SettingsError
from sandbox.folder import StackFolder
from sandbox.ports import HOST, Ports
from sandbox.processes import ROOT
from sandbox.settings import port_setting


def run_up(*arguments: str, **ports: int) -> subprocess.CompletedProcess[str]:
    """Run `ordersaga up` to its end, with these listeners on these ports."""
    environment = {**os.environ, **{port_setting(listener): str(port) for listener, port in ports.items()}}
    command = [sys.executable, "-m", "cli.main", "up", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env={**environment, "COLUMNS": "200"}, capture_output=True, text=True, check=False
    )


def test_a_taken_port_is_named_with_the_setting_that_changes_it(tmp_path: Path) -> None:
    ports = asdict(Ports.free())
    with socket.socket() as other:
        other.bind((HOST, ports["kafka"]))
        other.listen()

        answer = run_up("--var", str(tmp_path), **ports)

    assert answer.returncode == 2
    assert answer.stderr == (
        f"Port {ports['kafka']}, wanted by kafka, is taken; ORDERSAGA_SANDBOX_KAFKA_PORT gives kafka another one.\n"
    )


def test_a_second_stack_on_the_same_folder_is_refused_in_a_sentence(tmp_path: Path) -> None:
    first = StackFolder(tmp_path)
    endpoints = first.endpoints
    endpoints.write_text("of the first")

    answer = run_up("--var", str(tmp_path))

    assert answer.returncode == 2
    assert answer.stderr == (
        f"Another stack is running on the folder {tmp_path}: stop it first, or name another with --var.\n"
    )
    assert endpoints.read_text() == "of the first"
    first.release()


def test_a_port_that_is_none_is_named(tmp_path: Path) -> None:
    answer = run_up("--var", str(tmp_path), gateway=70_000)

    assert answer.returncode == 2
    assert "ORDERSAGA_SANDBOX_GATEWAY_PORT" in answer.stderr


def test_two_listeners_on_one_port_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERSAGA_SANDBOX_MAILBOX_PORT", "8080")

    with pytest.raises(SettingsError, match="SANDBOX_GATEWAY_PORT and ORDERSAGA_SANDBOX_MAILBOX_PORT: both are 8080"):
        Ports.load()


def test_the_help_names_every_port_and_its_setting() -> None:
    text = re.sub(r"\s+", " ", run_up("--help").stdout)

    assert "ORDERSAGA_SANDBOX_<NAME>_PORT" in text
    assert [
        f"{name.upper()} ({port})"
        for name, port in asdict(Ports.load()).items()
        if f"{name.upper()} ({port})" not in text
    ] == []
