"""The supervisor on real servers, with stand-ins for our own Python processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import textwrap
from pathlib import Path

import psycopg
import pytest

from cli.parts import PARTS
from sandbox import processes
from sandbox.endpoints import Endpoints
from sandbox.errors import ChildDiedError, PortsTakenError, StackRunningError
from sandbox.folder import StackFolder
from sandbox.ports import HOST, Ports
from sandbox.supervisor import Stack

# Ready at once; the order worker fails when a file asks for it.
STAND_IN_PARTS = """
    import os, pathlib, signal, socket, sys
    if "order-worker" in sys.argv and pathlib.Path("die-at-start").exists():
        print("no worker today")
        sys.exit(7)
    if "--held" in sys.argv:
        sys.stdin.read()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
    signal.pause()
"""
STAND_IN_MAIN = """
    import json, os, pathlib
    ours = {name: value for name, value in os.environ.items() if name.startswith("ORDERSAGA_")}
    pathlib.Path("setup.json").write_text(json.dumps(ours))
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "root"
    (root / "cli").mkdir(parents=True)
    (root / "cli" / "__init__.py").touch()
    (root / "cli" / "parts.py").write_text(textwrap.dedent(STAND_IN_PARTS))
    (root / "cli" / "main.py").write_text(textwrap.dedent(STAND_IN_MAIN))
    monkeypatch.setattr(processes, "ROOT", root)
    return root


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _exists(path: Path) -> bool:
    return path.exists()


def _left(endpoints: Endpoints) -> list[str]:
    return [part for part, pid in endpoints.processes.items() if _alive(pid)]


async def test_a_started_stack_says_where_everything_is_and_leaves_nothing_running(root: Path, tmp_path: Path) -> None:
    var = tmp_path / "var"

    async with Stack(var=var, ports=Ports.free()) as stack:
        written = json.loads((var / "endpoints.json").read_text())
        assert written.keys() == {
            *("gateway", "temporal", "temporal_ui", "kafka", "stripe", "smtp", "mailbox"),
            *("grpc", "postgres", "accounts", "processes"),
        }
        assert written["processes"].keys() == {"postgres", "temporal", "kafka", *PARTS}
        assert written["grpc"].keys() == written["postgres"].keys()
        assert sorted(_left(stack.endpoints)) == sorted(written["processes"])
        async with await psycopg.AsyncConnection.connect(written["postgres"]["order"]):
            pass

    assert _left(stack.endpoints) == []
    assert not (var / "endpoints.json").exists()


async def test_setup_gets_the_databases_and_the_admin_account(root: Path, tmp_path: Path) -> None:
    async with Stack(var=tmp_path / "var", ports=Ports.free()) as stack:
        told = json.loads((root / "setup.json").read_text())

    admin = stack.endpoints.accounts["admin"]
    assert (told["ORDERSAGA_ADMIN_EMAIL"], told["ORDERSAGA_ADMIN_PASSWORD"]) == (admin.email, admin.password)
    assert told["ORDERSAGA_ORDER_DSN"] == stack.endpoints.postgres["order"]
    assert told["ORDERSAGA_STRIPE_API_KEY"].startswith("sk_test_sandbox_")


async def test_a_process_that_dies_ends_the_stack_and_is_named(root: Path, tmp_path: Path) -> None:
    async def use() -> None:
        async with Stack(var=tmp_path / "var", ports=Ports.free()) as stack:
            pids.update(stack.endpoints.processes)
            os.kill(pids["gateway"], signal.SIGKILL)
            await stack.failed.wait()

    pids: dict[str, int] = {}
    with pytest.raises(ChildDiedError, match="services was ended by SIGKILL"):
        await use()

    assert [part for part, pid in pids.items() if _alive(pid)] == []


async def test_a_process_that_dies_while_starting_ends_the_start_with_its_last_words(
    root: Path, tmp_path: Path
) -> None:
    (root / "die-at-start").touch()

    with pytest.raises(ChildDiedError, match="order-worker ended with exit code 7") as caught:
        await Stack(var=tmp_path / "var", ports=Ports.free()).__aenter__()

    assert caught.value.tail == ("no worker today",)


async def test_a_start_that_is_cancelled_leaves_nothing_running_and_the_folder_free(root: Path, tmp_path: Path) -> None:
    var = tmp_path / "var"
    starting = asyncio.create_task(Stack(var=var, ports=Ports.free()).__aenter__())
    while True:
        if _exists(var / "log" / "temporal.log"):
            break
        await asyncio.sleep(0.005)

    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting

    async with Stack(var=var, ports=Ports.free()) as stack:
        assert _left(stack.endpoints)


async def test_a_taken_port_is_named_with_the_part_that_wants_it(tmp_path: Path) -> None:
    ports = Ports.free()
    with socket.socket() as other:
        other.bind((HOST, ports.kafka))
        other.listen()
        with pytest.raises(PortsTakenError, match=f"Port {ports.kafka}, wanted by kafka, is taken"):
            await Stack(var=tmp_path, ports=ports).__aenter__()


def test_two_stacks_cannot_share_a_folder(tmp_path: Path) -> None:
    first = StackFolder(tmp_path)
    with pytest.raises(StackRunningError):
        StackFolder(tmp_path)
    first.release()

    StackFolder(tmp_path).release()
