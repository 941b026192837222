"""No statement costs more with every order: each is run on filled databases, and its plan is looked at.

PostgreSQL is asked for the plan with the values that a statement is run with, and for the one for any values, where it
might take that. Every place in the code that runs one has to have been run, and every table of due work.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

import pytest
import pytest_asyncio

import services
from bench.filling.fill import Filled, fill
from bench.filling.shape import Shape
from runtime.due_work import DueTable
from tests.plans import accounts, goods, mails, orders, payments
from tests.plans.besides import WAITING, add_besides
from tests.plans.call_sites import find_call_sites, find_in
from tests.plans.driving import DRIVEN_TABLES
from tests.plans.recording import Plan, RecordedDatabase, Recorder, Site, recorded_database
from tests.plans.rules import problems_of
from tests.support.shared_postgres import PostgresServer

ORDERS = 10_000
PRODUCTS = 5_000


@dataclass(frozen=True, slots=True)
class Driven:
    """What was run, and where."""

    filled: Filled
    recorder: Recorder
    databases: Mapping[str, RecordedDatabase]


@pytest_asyncio.fixture(scope="module")
async def driven(postgres: PostgresServer, worker_id: str) -> AsyncIterator[Driven]:
    """Filled databases, on which every statement has been run once or more."""
    dsns = postgres.copy_databases(f"plans_{worker_id}")
    filled = _fill(dsns)
    recorder = Recorder()
    async with AsyncExitStack() as stack:
        databases = {
            service: await stack.enter_async_context(recorded_database(dsn, recorder)) for service, dsn in dsns.items()
        }
        await orders.drive(databases["order"], filled)
        await payments.drive(databases["payment"], filled)
        await goods.drive_stock(databases["inventory"], filled)
        await goods.drive_products(databases["product"], filled)
        await mails.drive(databases["notification"], filled)
        await accounts.drive(databases["user"], filled)
        for database in databases.values():
            await mails.drive_relay(database)
        yield Driven(filled, recorder, databases)


def _fill(dsns: Mapping[str, str]) -> Filled:
    until = datetime.now(UTC) - timedelta(days=1)
    filled = fill(dsns, Shape(orders=ORDERS, until=until, open_orders=2 * WAITING, products=PRODUCTS))
    add_besides(dsns)
    return filled


def test_no_plan_reads_or_sorts_more_with_every_order(driven: Driven) -> None:
    problems = {(plan.where, problem) for plan in driven.recorder.plans for problem in problems_of(plan)}

    assert not problems, "\n".join(f"{where}: {problem}" for where, problem in sorted(problems))


def test_every_place_that_runs_a_statement_was_run(driven: Driven) -> None:
    missed = [str(site) for site in find_call_sites() if not site.is_among(driven.recorder.sites)]

    assert not missed, "nothing in tests/plans runs what stands here:\n" + "\n".join(missed)


def test_every_table_of_due_work_was_worked_off(driven: Driven) -> None:
    missed = {where for where, table in _due_tables() if id(table) not in DRIVEN_TABLES}

    assert not missed


def test_every_filter_of_a_list_is_used(driven: Driven) -> None:
    assert not orders.unused_filters(orders.filters(driven.filled))


def test_a_statement_that_nobody_runs_is_noticed() -> None:
    text = "async def find(connection):\n    return await connection.fetch_one(dict, 'SELECT 1')\n"
    [site] = find_in("services/new/repository.py", text)

    assert not site.is_among({Site("services/new/repository.py", 1)})
    assert site.is_among({Site("services/new/repository.py", 2)})


async def test_a_scan_of_a_table_that_grows_is_refused(driven: Driven) -> None:
    for statement, problem in {
        "SELECT * FROM orders WHERE total = 1": "Seq Scan of orders",
        "SELECT count(*) FROM orders": "goes through 10,000 rows",
        "SELECT * FROM orders WHERE total = 1 ORDER BY id LIMIT 1": "Index Scan of orders",
    }.items():
        plan = await _plan_of(driven, statement)

        assert any(problem in found for found in problems_of(plan)), statement


@pytest.mark.parametrize(("price", "is_refused"), [(90.0, True), (5_000.0, False)])
def test_a_plan_for_any_values_is_looked_at_where_postgresql_might_take_it(price: float, is_refused: bool) -> None:
    by_index = {"Node Type": "Index Scan", "Relation Name": "orders", "Total Cost": 100.0}
    by_index |= {"Actual Rows": 1, "Actual Loops": 1, "Shared Hit Blocks": 3, "Shared Read Blocks": 0}
    whole = {"Node Type": "Seq Scan", "Relation Name": "orders", "Total Cost": price}
    plan = Plan(statement="SELECT", where="somewhere", done=by_index, generic=whole)

    assert bool(list(problems_of(plan))) is is_refused


async def _plan_of(driven: Driven, statement: str, **parameters: object) -> Plan:
    before = len(driven.recorder.plans)
    await driven.databases["order"].raw.execute(statement.encode().decode(), parameters or None)
    return driven.recorder.plans.pop(before)


def _due_tables() -> Iterator[tuple[str, DueTable[Any]]]:
    for module in _modules():
        for name, value in vars(module).items():
            for table in value.values() if isinstance(value, Mapping) else [value]:
                if isinstance(table, DueTable):
                    yield f"{module.__name__}.{name}", table


def _modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(services.__path__, f"{services.__name__}."):
        yield importlib.import_module(found.name)
