from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest

from sandbox.ports import free_port
from sandbox.postgres import launch
from sandbox.postgres.databases import SERVICES
from sandbox.postgres.server import Postgres
from sandbox.postgres.temporary import temporary_postgres, temporary_postgres_in_thread


def _server(folder: Path, *, port: int, durable: bool = False) -> Postgres:
    sockets = folder / "s"
    sockets.mkdir(exist_ok=True)
    return Postgres(data=folder / "data", port=port, sockets=sockets, log=folder / "pg.log", durable=durable)


async def _value(uri: str, query: LiteralString) -> object:
    async with await psycopg.AsyncConnection.connect(uri) as connection:
        row = await (await connection.execute(query)).fetchone()
        assert row is not None
        return row[0]


async def _execute(uri: str, statement: LiteralString) -> None:
    async with await psycopg.AsyncConnection.connect(uri) as connection:
        await connection.execute(statement)


async def test_each_service_has_a_database_of_its_own_which_another_role_owns() -> None:
    async with temporary_postgres() as databases:
        for service in SERVICES:
            owner = await _value(
                databases.services[service],
                "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()",
            )
            assert owner == f"ordersaga_{service}_owner"


async def test_relay_and_audit_may_connect_everywhere_and_services_nowhere_else() -> None:
    async with temporary_postgres() as databases:
        for service in SERVICES:
            assert await _value(databases.relay[service], "SELECT current_user::text") == "relay"
            assert await _value(databases.audit[service], "SELECT current_user::text") == "audit"
        trespass = databases.services["order"].rsplit("/", 1)[0] + "/ordersaga_payment"
        for elsewhere in (trespass, trespass.rsplit("/", 1)[0] + "/postgres"):
            with pytest.raises(psycopg.OperationalError, match="permission denied"):
                await psycopg.AsyncConnection.connect(elsewhere)


async def test_a_second_start_finds_the_data_and_takes_the_same_passwords(tmp_path: Path) -> None:
    port = free_port()
    async with _server(tmp_path, port=port, durable=True) as first:
        await _execute(first.databases.owners["order"], "CREATE TABLE kept AS SELECT 7 AS number")
    async with _server(tmp_path, port=port, durable=True) as second:
        assert second.databases == first.databases
        assert await _value(second.databases.owners["order"], "SELECT number FROM kept") == 7
        assert await _value(second.databases.services["order"], "SHOW synchronous_commit") == "on"
        assert await _value(second.databases.services["order"], "SHOW fsync") == "on"


async def test_passwords_are_readable_for_their_owner_only(tmp_path: Path) -> None:
    _server(tmp_path, port=free_port())

    assert stat.S_IMODE((tmp_path / "data-passwords.json").stat().st_mode) == 0o600


async def test_an_interrupted_initdb_leaves_no_half_made_data_folder(tmp_path: Path) -> None:
    draft = tmp_path / "data.new"
    draft.mkdir()
    (draft / "PG_VERSION").write_text("half")

    async with _server(tmp_path, port=free_port()) as server:
        assert await _value(server.databases.services["user"], "SELECT 1") == 1

    assert not draft.exists()


def test_code_without_an_event_loop_can_use_it_too() -> None:
    with (
        temporary_postgres_in_thread() as databases,
        psycopg.connect(databases.services["inventory"]) as connection,
    ):
        assert connection.execute("SELECT current_user::text").fetchone() == ("ordersaga_inventory",)


def _found(folder: Path, pattern: str) -> list[Path]:
    return list(folder.glob(pattern))


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can enter; pytest's own are private."""
    with tempfile.TemporaryDirectory(prefix="ordersaga-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.mark.skipif(os.geteuid() != 0, reason="PostgreSQL refuses root only")
async def test_root_without_user_namespaces_runs_it_as_nobody(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, open_folder: Path
) -> None:
    monkeypatch.setattr(launch, "ROOTLESS", ("unshare-is-not-here",))
    monkeypatch.setattr(launch, "OTHER_HOME", open_folder)
    sockets = open_folder / "s"
    sockets.mkdir()
    server = Postgres(data=tmp_path / "data", port=free_port(), sockets=sockets, log=tmp_path / "log", durable=False)

    async with server:
        assert await _value(server.databases.services["user"], "SELECT 1") == 1
        assert not (tmp_path / "data").exists()

    await server.remove()
    assert _found(open_folder, "*/data") == []
