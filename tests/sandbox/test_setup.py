"""When the databases are set up, and when not, on a real PostgreSQL and with a stand-in for the command."""

from __future__ import annotations

import asyncio
import os
import sys
import textwrap
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio

from sandbox.child import Command
from sandbox.errors import ChildDiedError
from sandbox.postgres.databases import SERVICES, Databases
from sandbox.postgres.temporary import temporary_postgres
from sandbox.setup import digest, publish_again, set_up_databases

STAND_IN = """
    import json, os, pathlib, sys
    import psycopg
    sys.stdin.read()
    with pathlib.Path("runs").open("a") as runs:
        runs.write("run ")
    if pathlib.Path("fail").exists():
        sys.exit(7)
    for dsn in json.loads(os.environ["DSNS"]):
        with psycopg.connect(dsn) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS alembic_version (version_num text)")
            connection.execute("TRUNCATE alembic_version")
            connection.execute("INSERT INTO alembic_version VALUES ('v0001')")
            connection.execute("CREATE TABLE IF NOT EXISTS outbox (published_at timestamptz)")
            connection.execute("CREATE TABLE IF NOT EXISTS relay_lease (epoch bigint)")
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Harness:
    """Databases, and the start of a stack as far as they are concerned."""

    databases: Databases
    folder: Path

    async def start(self, *, state: str = "first", is_new: bool = False) -> None:
        command = Command(
            name="setup",
            arguments=[sys.executable, "-c", textwrap.dedent(STAND_IN)],
            log=self.folder / "setup.log",
            environment={**os.environ, "DSNS": str(list(self.databases.owners.values())).replace("'", '"')},
            folder=self.folder,
            held=True,
        )
        server = asyncio.create_task(asyncio.sleep(0))
        await set_up_databases(admin=self.databases.admin, server=server, is_new=is_new, command=command, state=state)

    @property
    def runs(self) -> int:
        return (self.folder / "runs").read_text().count("run")


@pytest_asyncio.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    async with temporary_postgres() as databases:
        yield Harness(databases=databases, folder=tmp_path)


async def test_databases_are_set_up_once(harness: Harness) -> None:
    await harness.start(is_new=True)
    await harness.start()
    await harness.start()

    assert harness.runs == 1


async def test_databases_are_set_up_again_when_anything_about_it_has_changed(harness: Harness) -> None:
    await harness.start(is_new=True)

    await harness.start(state="second")
    assert harness.runs == 2

    with psycopg.connect(harness.databases.owners["payment"]) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v0000'")
    await harness.start(state="second")
    assert harness.runs == 3

    with psycopg.connect(harness.databases.owners["payment"]) as connection:
        connection.execute("DROP TABLE alembic_version")
    await harness.start(state="second")
    assert harness.runs == 4


async def test_a_setup_that_failed_is_done_again(harness: Harness) -> None:
    (harness.folder / "fail").touch()
    with pytest.raises(ChildDiedError, match="setup ended with exit code 7"):
        await harness.start(is_new=True)

    (harness.folder / "fail").unlink()
    await harness.start()

    assert harness.runs == 2


async def test_every_event_is_published_again_to_a_broker_that_forgot_them(harness: Harness) -> None:
    await harness.start(is_new=True)
    for service in SERVICES:
        with psycopg.connect(harness.databases.owners[service]) as connection:
            connection.execute("INSERT INTO outbox VALUES (now()), (now()), (NULL)")

    await publish_again(harness.databases.owners.values())

    for service in SERVICES:
        with psycopg.connect(harness.databases.owners[service]) as connection:
            counts = connection.execute("SELECT count(*), count(published_at) FROM outbox").fetchone()
        assert counts == (3, 0)


async def test_a_relay_that_runs_when_the_broker_is_replaced_has_to_take_its_lease_anew(harness: Harness) -> None:
    await harness.start(is_new=True)
    for service in SERVICES:
        with psycopg.connect(harness.databases.owners[service]) as connection:
            connection.execute("INSERT INTO relay_lease VALUES (7)")

    await publish_again(harness.databases.owners.values())

    for service in SERVICES:
        with psycopg.connect(harness.databases.owners[service]) as connection:
            assert connection.execute("SELECT epoch FROM relay_lease").fetchone() == (8,)


def test_another_admin_password_is_another_state() -> None:
    assert digest(["admin@example.test", "one"]) == digest(["admin@example.test", "one"])
    assert digest(["admin@example.test", "one"]) != digest(["admin@example.test", "two"])
