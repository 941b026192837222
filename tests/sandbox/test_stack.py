"""The supervisor on real servers, with stand-ins for our own Python processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import textwrap
from dataclasses import asdict
from pathlib import Path

import psycopg
import pytest

from cli.serve import DOUBLES, PARTS
from sandbox import processes
from sandbox.child import is_alive
from sandbox.endpoints import Endpoints
from sandbox.errors import ChildDiedError, PortsTakenError, StackRunningError
from sandbox.folder import StackFolder
from sandbox.ports import HOST, Ports
from sandbox.settings import port_setting
from sandbox.supervisor import Stack
from sandbox.watchdog import Update

# As parts: ready at once; the order worker fails when a file asks for it. As setup: makes what the stack looks for.
STAND_IN_MAIN = """
    import json, os, pathlib, signal, socket, sys

    if "order-worker" in sys.argv and pathlib.Path("die-at-start").exists():
        print("no worker today")
        sys.exit(7)
    if "--held" in sys.argv:
        sys.stdin.read()
    if sys.argv[1] == "serve":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
        signal.pause()
    import psycopg
    for dsn in json.loads(os.environ["ORDERSAGA_OWNER_DSNS"]).values():
        with psycopg.connect(dsn) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS alembic_version AS SELECT 'v0001' AS version_num")
            connection.execute("CREATE TABLE IF NOT EXISTS outbox (published_at timestamptz)")
            connection.execute("CREATE TABLE IF NOT EXISTS relay_lease (epoch bigint)")
    ours = {name: value for name, value in os.environ.items() if name.startswith("ORDERSAGA_")}
    pathlib.Path("setup.json").write_text(json.dumps(ours))
"""

UP_WITH_STAND_INS = """
import pathlib, sys
from cli.main import app
from sandbox import processes
processes.ROOT = pathlib.Path(sys.argv[1])
app(["up", "--var", sys.argv[2]])
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "root"
    (root / "cli").mkdir(parents=True)
    (root / "cli" / "__init__.py").touch()
    (root / "cli" / "main.py").write_text(textwrap.dedent(STAND_IN_MAIN))
    monkeypatch.setattr(processes, "ROOT", root)
    return root


@pytest.fixture(scope="module")
def var(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared, because to make PostgreSQL's data folder takes longer than the rest of a start."""
    return tmp_path_factory.mktemp("var")


def _exists(path: Path) -> bool:
    return path.exists()


def _left(endpoints: Endpoints) -> list[str]:
    return [name for name, pid in endpoints.processes.items() if is_alive(pid)]


async def test_a_started_stack_says_where_everything_is_and_leaves_nothing_running(root: Path, tmp_path: Path) -> None:
    var = tmp_path / "var"

    async with Stack(var=var, ports=Ports.free()) as stack:
        written = json.loads((var / "endpoints.json").read_text())
        assert written.keys() == {
            *("gateway", "temporal", "temporal_ui", "kafka", "stripe", "smtp", "mailbox"),
            *("grpc", "postgres", "probes", "accounts", "processes"),
        }
        assert written["processes"].keys() == {"postgres", "temporal", "kafka", *PARTS, *DOUBLES}
        assert written["grpc"].keys() == written["postgres"].keys()
        assert sorted(_left(stack.endpoints)) == sorted(written["processes"])
        async with await psycopg.AsyncConnection.connect(written["postgres"]["order"]):
            pass

    assert _left(stack.endpoints) == []
    assert not (var / "endpoints.json").exists()


async def test_setup_gets_the_databases_and_the_admin_account(root: Path, tmp_path: Path) -> None:
    async with Stack(var=tmp_path / "var", ports=Ports.free()) as stack:
        given = json.loads((root / "setup.json").read_text())

    admin = stack.endpoints.accounts["admin"]
    assert (given["ORDERSAGA_ADMIN_EMAIL"], given["ORDERSAGA_ADMIN_PASSWORD"]) == (admin.email, admin.password)
    assert given["ORDERSAGA_ORDER_DSN"] == stack.endpoints.postgres["order"]
    assert json.loads(given["ORDERSAGA_OWNER_DSNS"]).keys() == stack.endpoints.postgres.keys()
    assert "ORDERSAGA_STRIPE_API_KEY" not in given


async def test_a_process_that_dies_ends_the_stack_and_is_named(root: Path, tmp_path: Path) -> None:
    async def use() -> None:
        async with Stack(var=tmp_path / "var", ports=Ports.free()) as stack:
            pids.update(stack.endpoints.processes)
            os.kill(pids["gateway"], signal.SIGKILL)
            await stack.failed.wait()

    pids: dict[str, int] = {}
    with pytest.raises(ChildDiedError, match="services was ended by SIGKILL"):
        await use()

    assert [name for name, pid in pids.items() if is_alive(pid)] == []


async def test_a_process_that_dies_while_starting_ends_the_start_with_the_end_of_its_log(
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


@pytest.mark.parametrize("server", ["postgres", "temporal", "kafka"])
async def test_a_server_that_dies_ends_the_stack_with_the_end_of_its_log(root: Path, var: Path, server: str) -> None:
    async def use() -> None:
        async with Stack(var=var, ports=Ports.free(), restart=True) as stack:
            pids.update(stack.endpoints.processes)
            os.kill(pids[server], signal.SIGKILL)
            await stack.failed.wait()

    pids: dict[str, int] = {}
    with pytest.raises(ChildDiedError, match=rf"{server} was ended by SIGKILL. The last lines of .*{server}\.log"):
        await use()

    assert [name for name, pid in pids.items() if is_alive(pid)] == []


async def test_the_command_says_which_server_died_and_ends_with_exit_code_1(root: Path, var: Path) -> None:
    ports = {port_setting(listener): str(port) for listener, port in asdict(Ports.free()).items()}
    up = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", UP_WITH_STAND_INS, str(root), str(var)),
        cwd=Path(__file__).parents[2],
        env={**os.environ, **ports},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    while True:
        endpoints = Endpoints.read(var / "endpoints.json")
        if endpoints is not None:
            break
        await asyncio.sleep(0.02)

    os.kill(endpoints.processes["kafka"], signal.SIGKILL)
    _, printed = await up.communicate()

    assert up.returncode == 1
    assert f"kafka was ended by SIGKILL. The last lines of {var / 'log' / 'kafka.log'}:" in printed.decode()
    assert _left(endpoints) == []


async def test_a_process_of_ours_that_dies_is_started_again_and_named(root: Path, var: Path) -> None:
    updates: asyncio.Queue[Update] = asyncio.Queue()
    async with Stack(var=var, ports=Ports.free(), restart=True, on_update=updates.put_nowait) as stack:
        before = dict(stack.endpoints.processes)
        os.kill(before["order-worker"], signal.SIGKILL)
        died, back = [await asyncio.wait_for(updates.get(), 30) for _ in range(2)]
        after = json.loads((var / "endpoints.json").read_text())["processes"]
        left = _left(stack.endpoints)

    assert str(died) == "order-worker was ended by SIGKILL; starting it again in 0.5 s (attempt 1)."
    assert str(back) == f"order-worker is ready again, as process {after['order-worker']}."
    assert [name for name in before if before[name] != after[name]] == ["order-worker"]
    assert sorted(left) == sorted(after)
    assert [name for name, pid in after.items() if is_alive(pid)] == []


async def test_a_split_stack_has_a_process_per_component(root: Path, var: Path) -> None:
    async with Stack(var=var, ports=Ports.free(), split=True) as stack:
        pids = dict(stack.endpoints.processes)

    assert pids.keys() == {"postgres", "temporal", "kafka", *PARTS, *DOUBLES}
    assert len(set(pids.values())) == len(pids)
    assert _left(stack.endpoints) == []


async def test_a_taken_port_is_named_with_its_listener_and_its_setting(tmp_path: Path) -> None:
    ports = Ports.free()
    with socket.socket() as other:
        other.bind((HOST, ports.temporal_ui))
        other.listen()
        with pytest.raises(PortsTakenError) as caught:
            await Stack(var=tmp_path, ports=ports).__aenter__()

    assert caught.value.taken == {"temporal_ui": ports.temporal_ui}
    assert str(caught.value) == (
        f"Port {ports.temporal_ui}, wanted by temporal_ui, is taken; "
        "ORDERSAGA_SANDBOX_TEMPORAL_UI_PORT gives temporal_ui another one."
    )
    StackFolder(tmp_path).release()


async def test_what_a_killed_stack_left_is_cleared_once_its_processes_have_ended(tmp_path: Path) -> None:
    killed = StackFolder(tmp_path)
    stopping = await asyncio.create_subprocess_exec("sleep", "0.3")
    endpoints = Endpoints(
        **dict.fromkeys(("gateway", "temporal", "temporal_ui", "kafka", "stripe", "smtp", "mailbox"), ""),
        grpc={},
        postgres={},
        probes={},
        accounts={},
        processes={"order-worker": stopping.pid},
    )
    killed.endpoints.write_text(endpoints.to_json())
    os.close(killed._lock)  # what the end of its process does

    next_one = StackFolder(tmp_path)
    await next_one.clear()

    assert not is_alive(stopping.pid)
    assert not killed.sockets.exists()
    assert not killed.endpoints.exists()
    assert next_one.sockets.exists()
    next_one.release()
    await stopping.wait()


def test_two_stacks_cannot_share_a_folder(tmp_path: Path) -> None:
    first = StackFolder(tmp_path)
    with pytest.raises(StackRunningError):
        StackFolder(tmp_path)
    first.release()

    StackFolder(tmp_path).release()
