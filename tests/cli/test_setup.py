"""`ordersaga setup` of databases and admin, and `users create-admin`, as they are called: a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from domain.ids import new_id
from migrations.runner import SERVICES
from tests.support.command import ordersaga as run_ordersaga
from tests.support.shared_postgres import PostgresServer, unique_suffix

ROOT = Path(__file__).parents[2]
PASSWORD = "correct horse"
NO_ROLES = {"ORDERSAGA_RELAY_ROLE": "none", "ORDERSAGA_AUDIT_ROLE": "none"}


def ordersaga(*arguments: str, environment: Mapping[str, str], typed: str = "") -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ORDERSAGA_")}
    return run_ordersaga(*arguments, environment={**kept, **environment}, typed=typed)


def settings(dsns: Mapping[str, str]) -> dict[str, str]:
    return {f"ORDERSAGA_{service.upper()}_DSN": dsn for service, dsn in dsns.items()}


def as_uri(dsn: str) -> str:
    return f"postgresql:///?{urlencode(conninfo_to_dict(dsn))}"


@pytest.fixture
def fresh(databases: Mapping[str, str]) -> Mapping[str, str]:
    """Service to the DSN of a place without tables: a new schema in the service's database."""
    schema = f"fresh_{new_id().replace('-', '')}"
    for dsn in databases.values():
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    return {service: f"{dsn}?options=-csearch_path%3D{schema}" for service, dsn in databases.items()}


def accounts(dsn: str) -> list[tuple[str, str, str]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute("SELECT email, name, role FROM users").fetchall()


def may(dsn: str, *, role: str, right: str, table: str, column: str) -> bool:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT has_column_privilege(%s, %s, %s, %s)", [role, table, column, right]).fetchone()
        return row == (True,)


def test_setup_makes_tables_grants_and_the_admin_and_can_be_repeated(fresh: Mapping[str, str]) -> None:
    environment = settings(fresh) | {
        "ORDERSAGA_ADMIN_EMAIL": "admin@example.test",
        "ORDERSAGA_ADMIN_PASSWORD": PASSWORD,
    }

    first = ordersaga("setup", "databases", "admin", environment=environment)
    second = ordersaga("setup", "databases", "admin", environment=environment)

    assert (first.returncode, first.stderr) == (0, "")
    assert (second.returncode, second.stdout) == (0, first.stdout)
    assert accounts(fresh["user"]) == [("admin@example.test", "Admin", "admin")]
    for dsn in fresh.values():
        assert may(dsn, role="relay", right="UPDATE", table="outbox", column="published_at")
        assert not may(dsn, role="relay", right="UPDATE", table="outbox", column="data")
    assert not may(fresh["user"], role="relay", right="SELECT", table="users", column="email")
    assert not may(fresh["user"], role="audit", right="SELECT", table="users", column="password_hash")
    assert may(fresh["order"], role="audit", right="SELECT", table="orders", column="status")
    assert not may(fresh["order"], role="audit", right="SELECT", table="orders", column="shipping_address")
    assert PASSWORD not in first.stdout


def test_databases_alone_makes_no_admin_and_lets_nobody_in_where_the_roles_are_none(fresh: Mapping[str, str]) -> None:
    done = ordersaga("setup", "databases", environment=settings(fresh) | NO_ROLES)

    assert (done.returncode, done.stderr) == (0, "")
    assert accounts(fresh["user"]) == []
    assert not may(fresh["user"], role="relay", right="SELECT", table="outbox", column="id")


def test_roles_that_are_missing_are_made_with_the_passwords_of_their_dsns(
    postgres: PostgresServer, databases: Mapping[str, str], worker_id: str
) -> None:
    suffix = unique_suffix(worker_id)
    owner = make_conninfo(postgres.admin, dbname=str(conninfo_to_dict(databases["order"])["dbname"]))
    service = make_conninfo(owner, user=f"shop_{suffix}", password="of the shop")
    relay = make_conninfo(owner, user=f"relay_{suffix}", password="of the relay")
    environment = settings(databases) | {
        "ORDERSAGA_ORDER_DSN": as_uri(service),
        "ORDERSAGA_OWNER_DSNS": json.dumps({"order": as_uri(owner)}),
        "ORDERSAGA_RELAY_DSNS": json.dumps(dict.fromkeys(SERVICES, as_uri(relay))),
        "ORDERSAGA_RELAY_ROLE": f"relay_{suffix}",
        "ORDERSAGA_AUDIT_ROLE": "none",
    }
    first, second = (ordersaga("setup", "databases", environment=environment) for _ in range(2))

    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.splitlines()[:-1] == [f"databases: role {role}_{suffix} made" for role in ("shop", "relay")]
    assert second.stdout.splitlines() == first.stdout.splitlines()[-1:]
    with psycopg.connect(service) as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchone() is not None
    with psycopg.connect(relay) as connection:
        assert connection.execute("SELECT count(*) FROM outbox").fetchone() is not None


def test_every_missing_database_is_named(databases: Mapping[str, str]) -> None:
    done = ordersaga("setup", "databases", "admin", environment={})

    assert done.returncode == 2
    for service in SERVICES:
        assert f"ORDERSAGA_{service.upper()}_DSN is not set" in done.stderr
    assert "Traceback" not in done.stderr


def test_databases_that_cannot_be_used_are_named_without_their_passwords_and_nothing_changes(
    fresh: Mapping[str, str],
) -> None:
    wrong = {
        "ORDERSAGA_PRODUCT_DSN": "postgresql://somebody:hush@127.0.0.1:1/where-nobody-listens",
        "ORDERSAGA_INVENTORY_DSN": "postgresql://somebody:hush@127.0.0.1:port/nothing",
        "ORDERSAGA_ORDER_DSN": "host=127.0.0.1 password=hush",
        "ORDERSAGA_PAYMENT_DSN": "hush",
        "ORDERSAGA_NOTIFICATION_DSN": "postgresql://somebody:hush@127.0.0.1:1/nothing?hush=1",
    }

    done = ordersaga("setup", "databases", "admin", environment=settings(fresh) | wrong)

    assert done.returncode == 2
    for name in wrong:
        assert f"{name}: " in done.stderr
    assert "ORDERSAGA_USER_DSN" not in done.stderr
    assert "hush" not in done.stderr
    with psycopg.connect(fresh["user"]) as connection:
        assert connection.execute("SELECT to_regclass('users')").fetchone() == (None,)


def test_a_role_that_does_not_exist_is_named_once(databases: Mapping[str, str]) -> None:
    done = ordersaga("setup", "databases", environment=settings(databases) | {"ORDERSAGA_RELAY_ROLE": "nobody_here"})

    assert (done.returncode, done.stderr) == (
        2,
        "ORDERSAGA_RELAY_ROLE: there is no role nobody_here: CREATE ROLE nobody_here LOGIN PASSWORD '…'\n",
    )


@pytest.mark.parametrize(("given", "missing"), [("EMAIL", "PASSWORD"), ("PASSWORD", "EMAIL")])
def test_half_an_admin_is_refused(databases: Mapping[str, str], given: str, missing: str) -> None:
    done = ordersaga(
        "setup",
        "databases",
        "admin",
        environment=settings(databases) | {f"ORDERSAGA_ADMIN_{given}": "admin@example.test"},
    )

    assert done.returncode == 2
    assert done.stderr.startswith(f"ORDERSAGA_ADMIN_{missing} is not set")


def test_create_admin_asks_for_the_password_twice(databases: Mapping[str, str]) -> None:
    email = f"admin-{new_id()}@example.test"

    done = ordersaga(
        "users",
        "create-admin",
        "--email",
        email,
        "--name",
        "On call",
        environment={"ORDERSAGA_USER_DSN": databases["user"]},
        typed=f"{PASSWORD}\n{PASSWORD}\n",
    )

    assert done.returncode == 0, done.stderr
    assert (email, "On call", "admin") in accounts(databases["user"])
    assert PASSWORD not in done.stdout


def test_create_admin_names_every_setting_that_does_not_fit(databases: Mapping[str, str]) -> None:
    done = ordersaga(
        "users",
        "create-admin",
        environment={
            "ORDERSAGA_USER_DSN": databases["user"],
            "ORDERSAGA_ADMIN_EMAIL": "admin",
            "ORDERSAGA_ADMIN_PASSWORD": "short",
        },
    )

    assert done.returncode == 2
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == [
        "ORDERSAGA_ADMIN_EMAIL",
        "ORDERSAGA_ADMIN_PASSWORD",
    ]


def test_create_admin_needs_the_user_database() -> None:
    done = ordersaga("users", "create-admin", "--email", "admin@example.test", "--password", PASSWORD, environment={})

    assert done.returncode == 2
    assert done.stderr.startswith("ORDERSAGA_USER_DSN is not set")


def test_help_is_quick_because_commands_import_what_they_need() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys, cli.main; print(*sys.modules)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert not {"sqlalchemy", "grpc", "pydantic", "temporalio"} & set(done.stdout.split())
