"""Behind a pooler in transaction mode a service either does not start, or works: as the settings say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

import psycopg
import pytest
import pytest_asyncio
from pydantic import SecretStr

from domain.ids import new_id
from domain.orders import OrderLine
from runtime.database import Database
from runtime.settings import Pooler, Settings, SettingsError
from services.inventory.bootstrap import bootstrap
from tests.support.pooler import pgbouncer, transaction_pooler
from tests.support.shared_postgres import PostgresServer
from tests.support.stock_ledger import check_stock_ledger

REAL = pytest.param("pgbouncer", marks=[pytest.mark.more, pytest.mark.needs("pgbouncer")])
ORDERS_AT_ONCE = 16


@pytest_asyncio.fixture(scope="module", params=["ours", REAL])
async def pooled(
    request: pytest.FixtureRequest, databases: Mapping[str, str], postgres: PostgresServer
) -> AsyncIterator[str]:
    """A DSN of the inventory database that leads through a pooler in transaction mode."""
    dsn = databases["inventory"]
    pooler = pgbouncer(dsn) if request.param == "pgbouncer" else transaction_pooler(dsn, postgres.admin)
    async with pooler as leading_through_it:
        yield leading_through_it


async def ask_often(database: Database, other: Database) -> None:
    """The same statement over and over, as psycopg prepares it; then on another backend, because somebody has ours."""

    async def ask() -> None:
        async with database.autocommit() as connection:
            for number in range(10):
                assert await connection.fetch_value("SELECT %(number)s::int", number=number) == number

    await ask()
    async with other.transaction() as connection:
        await connection.execute("SELECT 1")
        await ask()


async def test_without_a_setting_statements_fail(pooled: str) -> None:
    one, other = Database(pooled, pool_size=1), Database(pooled, pool_size=1)

    with pytest.raises(psycopg.Error, match="prepared statement"):
        await ask_often(one, other)

    await one.close()
    await other.close()


async def test_a_pooler_that_the_settings_do_not_mention_is_refused_at_the_start(pooled: str) -> None:
    with pytest.raises(SettingsError) as refused:
        async with bootstrap(Settings(inventory_dsn=SecretStr(pooled))):
            pass

    assert "ORDERSAGA_INVENTORY_DSN" in str(refused.value)
    assert "ORDERSAGA_DATABASE_POOLER" in str(refused.value)


async def test_a_pooler_that_the_settings_mention_does_no_harm(pooled: str) -> None:
    settings = Settings(inventory_dsn=SecretStr(pooled), database_pooler=Pooler.TRANSACTION)

    async with bootstrap(settings) as components, bootstrap(settings) as others:
        inventory, product_id = components.inventory, new_id()
        await inventory.adjust(adjustment_id=new_id(), product_id=product_id, delta=ORDERS_AT_ONCE, note="delivery")

        async def buy(order_id: str) -> None:
            await inventory.reserve(order_id, [OrderLine(product_id, 1)])
            await inventory.commit(order_id)
            await inventory.commit(order_id)

        await asyncio.gather(*(buy(new_id()) for _ in range(ORDERS_AT_ONCE)))
        level = await inventory.get_stock(product_id)
        await ask_often(components.database, others.database)

        assert (level.on_hand, level.reserved) == (0, 0)
        await check_stock_ledger(components.database, [product_id])


async def test_wake_ups_come_by_a_dsn_of_their_own(pooled: str, databases: Mapping[str, str]) -> None:
    payloads: asyncio.Queue[str] = asyncio.Queue()
    database = Database(pooled, pool_size=2, pooler=Pooler.TRANSACTION, listen_dsn=databases["inventory"])

    async with database.listen("tests", payloads.put_nowait), asyncio.timeout(20):
        assert await payloads.get() == ""
        async with database.autocommit() as connection:
            await connection.execute("SELECT pg_notify('tests', 'moved')")
        assert await payloads.get() == "moved"

    await database.close()


async def test_without_that_nobody_listens_in_vain(pooled: str) -> None:
    database = Database(pooled, pool_size=2, pooler=Pooler.TRANSACTION)

    with pytest.raises(SettingsError, match="ORDERSAGA_LISTEN_DSNS"):
        database.listen("tests", lambda _: None)


async def test_a_dsn_that_is_none_is_refused_by_its_setting() -> None:
    with pytest.raises(SettingsError, match="ORDERSAGA_INVENTORY_DSN"):
        async with bootstrap(Settings(inventory_dsn=SecretStr("postgres//nowhere"))):
            pass


async def test_a_service_starts_while_its_database_is_away() -> None:
    async with bootstrap(Settings(inventory_dsn=SecretStr("postgresql://nobody@127.0.0.1:1/none"))) as components:
        assert components.database.dsn
