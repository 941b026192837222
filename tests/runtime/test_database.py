"""The pool of connections, on a PostgreSQL of its own that is stopped and started again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from runtime.database import CONNECT_TIMEOUT, Database, DatabaseAway, encode_rows
from runtime.deadline import CallerGone, begin_work, set_caller_gone, set_time_left
from runtime.refusal import Shed
from sandbox.ports import free_port
from sandbox.postgres.server import Postgres
from services.product.tables import SCHEMA


@dataclass
class Server:
    """A PostgreSQL that comes and goes, on one folder and port."""

    folder: Path
    port: int = field(default_factory=free_port)
    running: Postgres | None = None

    async def start(self) -> None:
        self.running = Postgres(
            data=self.folder / "data", port=self.port, sockets=self.folder / "s", log=self.folder / "log", durable=False
        )
        await self.running.start()

    async def stop(self) -> None:
        assert self.running is not None
        await self.running.stop()

    @property
    def dsn(self) -> str:
        assert self.running is not None
        return self.running.databases.owners["order"]


@pytest_asyncio.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """Each test leaves it running."""
    folder = tmp_path_factory.mktemp("postgres")
    (folder / "s").mkdir()
    server = Server(folder)
    await server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture
async def database(server: Server, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    monkeypatch.setattr("runtime.database.CONNECT_TIMEOUT", CONNECT_TIMEOUT)
    database = Database(server.dsn, pool_size=4)
    yield database
    await database.close()


async def use_all_connections(database: Database) -> list[int]:
    """Two callers for each connection of the pool."""
    everybody = asyncio.Barrier(4)

    async def ask(number: int) -> int:
        async with database.transaction() as connection:
            if number < 4:
                await everybody.wait()
            answer: int = await connection.fetch_value("SELECT %(number)s::int", number=number)
            return answer

    return list(await asyncio.gather(*(ask(number) for number in range(8))))


async def test_after_a_restart_of_postgresql_no_caller_meets_a_dead_connection(
    server: Server, database: Database
) -> None:
    await use_all_connections(database)

    await server.stop()
    await server.start()

    assert await use_all_connections(database) == list(range(8))


async def test_a_database_that_is_down_is_named_as_such_and_used_again_as_soon_as_it_is_back(
    server: Server, database: Database
) -> None:
    await use_all_connections(database)

    await server.stop()
    with pytest.raises(DatabaseAway):
        await use_all_connections(database)
    await server.start()

    assert await use_all_connections(database) == list(range(8))


async def test_a_connection_that_breaks_inside_a_transaction_is_named_as_such(
    server: Server, database: Database
) -> None:
    with pytest.raises(DatabaseAway):
        async with database.transaction() as connection:
            await connection.fetch_value("SELECT pg_terminate_backend(pg_backend_pid())")

    assert await use_all_connections(database) == list(range(8))


async def test_a_block_that_raises_leaves_nothing_behind(database: Database) -> None:
    async with database.autocommit() as connection:
        await connection.execute("CREATE TABLE kept (number int)")

    async def add_and_fail() -> None:
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO kept VALUES (1)")
            raise LookupError

    with pytest.raises(LookupError):
        await add_and_fail()

    async with database.autocommit() as connection:
        assert await connection.fetch_value("SELECT count(*) FROM kept") == 0


async def test_rows_go_in_as_one_parameter_and_uuids_come_back_as_text(database: Database) -> None:
    rows: list[dict[str, object]] = [
        {"id": "0199aa00-0000-7000-8000-000000000001", "note": "50 %"},
        {"id": None, "note": "ö\"'\\"},
    ]

    async with database.autocommit() as connection:
        found: list[dict[str, object]] = await connection.fetch_all(
            dict, "SELECT * FROM json_to_recordset(%(rows)s::json) AS row (id uuid, note text)", rows=encode_rows(rows)
        )

    assert found == rows


async def test_a_caller_waits_for_its_turn_as_long_as_its_own_caller_does(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.database.CONNECT_TIMEOUT", 0.01)
    taken, given_up = asyncio.Barrier(5), asyncio.Event()

    async def hold() -> None:
        async with database.transaction():
            await taken.wait()
            await given_up.wait()

    async def ask(seconds: float | None) -> None:
        set_time_left(seconds)
        async with database.transaction() as connection:
            await connection.execute("SELECT 1")

    holding = [asyncio.create_task(hold()) for _ in range(4)]
    await taken.wait()
    patient = asyncio.create_task(ask(60))
    for seconds in (None, -1.0):
        with pytest.raises(DatabaseAway, match="too many callers"):
            await asyncio.create_task(ask(seconds))
    given_up.set()

    await asyncio.gather(patient, *holding)


async def test_who_comes_when_the_line_is_full_is_turned_away_at_once_and_what_was_begun_is_finished(
    server: Server,
) -> None:
    database = Database(server.dsn, pool_size=1, most_waiting=1)
    taken, end = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        async with database.transaction():
            taken.set()
            await end.wait()

    async def ask(*, is_begun: bool = False) -> None:
        set_time_left(60)
        if is_begun:
            begin_work()
        async with database.autocommit() as connection:
            await connection.execute("SELECT 1")

    holding = asyncio.create_task(hold())
    await taken.wait()
    first = asyncio.create_task(ask())
    await asyncio.sleep(0)
    with pytest.raises(Shed, match="too many callers"):
        await asyncio.create_task(ask())
    begun = asyncio.create_task(ask(is_begun=True))
    await asyncio.sleep(0)
    assert database.turns.waiting == 2
    end.set()

    await asyncio.gather(holding, first, begun)
    await database.close()


async def test_no_statement_is_run_for_a_caller_who_went_while_it_waited_for_its_turn(server: Server) -> None:
    database = Database(server.dsn, pool_size=1)
    taken, end, waiting, gone = asyncio.Event(), asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        async with database.transaction():
            taken.set()
            await end.wait()

    async def ask() -> None:
        async with database.autocommit():
            raise AssertionError("it got a connection")

    async def serve() -> None:
        set_time_left(60)
        handler = asyncio.create_task(ask())
        waiting.set()
        await gone.wait()
        set_caller_gone()
        await handler

    holding = asyncio.create_task(hold())
    await taken.wait()
    serving = asyncio.create_task(serve())
    await waiting.wait()
    gone.set()
    await asyncio.sleep(0)
    end.set()

    with pytest.raises(CallerGone):
        await serving
    await holding
    await database.close()


async def test_turns_come_in_the_order_of_asking(server: Server) -> None:
    database = Database(server.dsn, pool_size=1)
    served = []

    async def ask(number: int) -> None:
        async with database.transaction() as connection:
            served.append(number)
            await connection.execute("SELECT 1")

    await asyncio.gather(*(ask(number) for number in range(40)))

    assert served == list(range(40))
    await database.close()


async def test_a_database_that_can_be_used_has_no_problem_and_an_older_one_says_what_to_do(
    databases: Mapping[str, str],
) -> None:
    database = Database(databases["product"], pool_size=1)

    assert await database.find_problem(schema=SCHEMA) is None
    assert await database.find_problem(schema="0000") is None
    assert await database.find_problem(schema="9999") == (
        f"its tables are of revision {SCHEMA}, and have to be of 9999; run `ordersaga setup databases`"
    )


async def test_a_database_that_is_away_says_so() -> None:
    problem = await Database(f"postgresql://nobody@127.0.0.1:{free_port()}/x", pool_size=1).find_problem(schema="1")

    assert problem is not None
    assert "it does not answer" in problem
    assert "Connection refused" in problem
