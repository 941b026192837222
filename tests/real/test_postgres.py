"""All six databases on Debian's PostgreSQL, over TLS that is verified, by roles that may do no more than they need."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from migrations.runner import SERVICES
from sandbox.certificates import CertificateAuthority
from tests.chaos.conftest import Chaos
from tests.support.real.postgres import DebianPostgres
from tests.support.real.stack import Shopper, stack_on

pytestmark = [pytest.mark.real, pytest.mark.needs("postgresql")]

ORDERS = 40
SESSIONS = """
    SELECT usename, ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
     WHERE usename LIKE 'ordersaga%' OR usename IN ('relay', 'audit')
"""


def test_nobody_comes_in_without_encryption(debian_postgres: DebianPostgres) -> None:
    for dsn in debian_postgres.databases.services.values():
        with pytest.raises(psycopg.OperationalError, match="no encryption"):
            psycopg.connect(make_conninfo(dsn, sslmode="disable"))


def test_a_server_of_another_authority_is_not_believed(debian_postgres: DebianPostgres, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(CertificateAuthority().pem)
    dsn = make_conninfo(debian_postgres.databases.services["order"], sslrootcert=str(tmp_path / "ca.pem"))

    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        psycopg.connect(dsn)


async def test_orders_agree_and_every_part_is_its_own_role_over_tls(
    debian_postgres: DebianPostgres, tmp_path: Path
) -> None:
    await debian_postgres.renew()
    async with stack_on(tmp_path / "var", debian_postgres) as client:
        shopper = await Shopper.enter(client, units=ORDERS)
        orders = await shopper.buy(ORDERS)
        await client.kafka.events("order-events", orders[-1]["id"], at_least=3)
        with psycopg.connect(debian_postgres.databases.admin) as connection:
            sessions = set(connection.execute(SESSIONS).fetchall())
        await Chaos(client=client).orders_agree()

    assert sessions == {(f"ordersaga_{service}", True) for service in SERVICES} | {("relay", True)}
    refused = {
        "service": (debian_postgres.databases.services["order"], "CREATE TABLE more (id int)"),
        "relay": (debian_postgres.databases.relay["order"], "SELECT id FROM orders"),
        "audit": (debian_postgres.databases.audit["order"], "UPDATE orders SET status = 'PAID'"),
        "audit elsewhere": (debian_postgres.databases.audit["user"], "SELECT email FROM public.users"),
    }
    for dsn, statement in refused.values():
        with psycopg.connect(dsn) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement.encode())
