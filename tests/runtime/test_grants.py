"""What the roles of a database can do, tried: what they need, and none of what they do not."""

from __future__ import annotations

from collections.abc import Mapping

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.errors import InsufficientPrivilege

from cli.audit.read_databases import read_inventory, read_orders, read_payments
from migrations.grants import Roles
from migrations.runner import SERVICES, upgrade_all
from tests.support.shared_postgres import PostgresServer, unique_suffix


class Doors:
    """Databases that the owner has set up, and into which the role of each service is let, too."""

    def __init__(self, postgres: PostgresServer, owners: Mapping[str, str]) -> None:
        self._admin = postgres.admin
        self._owners = owners

    def dsn(self, service: str, role: str) -> str:
        """The service's database, with the rights of the role."""
        database = str(conninfo_to_dict(self._owners[service])["dbname"])
        return make_conninfo(self._admin, dbname=database, options=f"-c role={role}")

    def may(self, service: str, role: str, statement: str) -> bool:
        with psycopg.connect(self.dsn(service, role)) as connection:
            try:
                connection.execute(statement.encode())
            except InsufficientPrivilege:
                return False
            finally:
                connection.rollback()
        return True


@pytest.fixture(scope="session")  # a module's tests may come to a process in two parts
def doors(postgres: PostgresServer, worker_id: str) -> Doors:
    dsns = postgres.copy_databases(f"grants_{unique_suffix(worker_id)}")
    upgrade_all(dsns, {name: Roles(service=f"ordersaga_{name}", relay="relay", audit="audit") for name in SERVICES})
    return Doors(postgres, dsns)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_reads_and_writes_rows_and_changes_no_table(doors: Doors, service: str) -> None:
    role = f"ordersaga_{service}"

    assert doors.may(service, role, "SELECT * FROM outbox")
    assert doors.may(service, role, "UPDATE outbox SET published_at = now()")
    assert doors.may(service, role, "DELETE FROM outbox")
    assert not doors.may(service, role, "CREATE TABLE mine (id int)")
    assert not doors.may(service, role, "ALTER TABLE outbox ADD COLUMN mine int")
    assert not doors.may(service, role, "DROP TABLE outbox")
    assert not doors.may(service, role, "UPDATE alembic_version SET version_num = '0'")


@pytest.mark.parametrize("service", SERVICES)
def test_the_relay_marks_events_and_changes_none(doors: Doors, service: str) -> None:
    assert doors.may(service, "relay", "SELECT * FROM outbox")
    assert doors.may(service, "relay", "UPDATE outbox SET published_at = now()")
    assert doors.may(service, "relay", "UPDATE relay_lease SET expires_at = now()")
    assert not doors.may(service, "relay", "UPDATE outbox SET data = '{}'")
    assert not doors.may(service, "relay", "DELETE FROM outbox")
    assert not doors.may(service, "relay", "CREATE TABLE mine (id int)")


async def test_the_audit_reads_what_its_rules_are_about(doors: Doors) -> None:
    assert await read_orders(doors.dsn("order", "audit")) == ({}, [])
    assert await read_inventory(doors.dsn("inventory", "audit")) == ({}, [], [])
    assert (await read_payments(doors.dsn("payment", "audit"))).payments == {}


@pytest.mark.parametrize(
    ("service", "statement"),
    [
        ("order", "SELECT shipping_address FROM public.orders"),
        ("order", "SELECT data FROM public.outbox"),
        ("order", "DELETE FROM public.order_transitions"),
        ("payment", "UPDATE public.payments SET amount = 0"),
        ("notification", "SELECT id FROM public.notifications"),
        ("user", "SELECT email FROM public.users"),
        ("user", "SELECT password_hash FROM public.users"),
    ],
)
def test_the_audit_reads_nothing_else_and_writes_nothing(doors: Doors, service: str, statement: str) -> None:
    assert not doors.may(service, "audit", statement)


@pytest.mark.parametrize("table", ["users", "refresh_tokens"])
def test_the_relay_reads_no_accounts(doors: Doors, table: str) -> None:
    assert not doors.may("user", "relay", f"TABLE public.{table}")
