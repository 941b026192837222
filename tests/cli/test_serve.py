"""A part as a process: what it lacks is said by its probes, and it is ready once that is mended."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import tuple_row

from migrations.runner import upgrade
from sandbox.ports import free_port
from tests.support.served_part import ServedPart, served
from tests.support.shared_postgres import PostgresServer, unique_suffix


@contextmanager
def product_service(folder: Path, **settings: object) -> Iterator[ServedPart]:
    with served("product", folder, {"product_listen": f"127.0.0.1:{free_port()}", **settings}) as part:
        yield part


@pytest.fixture
def empty(postgres: PostgresServer, worker_id: str) -> str:
    """The DSN of a database without tables."""
    template = conninfo_to_dict(postgres.templates["product"])
    name = f"empty_{unique_suffix(worker_id)}"
    with psycopg.connect(postgres.admin, autocommit=True, row_factory=tuple_row) as connection:
        connection.execute(f'CREATE DATABASE "{name}" OWNER "{template["user"]}"'.encode())
    return postgres.templates["product"].rsplit("/", 1)[0] + f"/{name}"


def test_a_part_without_its_tables_is_alive_and_says_what_to_do(empty: str, tmp_path: Path) -> None:
    with product_service(tmp_path, product_dsn=empty) as product:
        product.until(lambda: "database" in product.readiness()[1]["problems"])
        status, report = product.readiness()
        assert product.is_alive()
        assert (status, report["ready"]) == (503, False)
        assert report["problems"]["database"] == "it has no tables for us; run `ordersaga setup databases`"

        upgrade("product", empty)

        product.until(lambda: product.readiness()[0] == 200)


def test_a_part_whose_password_is_wrong_is_not_ready(databases: Mapping[str, str], tmp_path: Path) -> None:
    parts = conninfo_to_dict(databases["product"])
    wrong = databases["product"].replace(f":{parts['password']}@", ":wrong@")
    with product_service(tmp_path, product_dsn=wrong, database_pooler="session") as product:
        product.until(lambda: "database" in product.readiness()[1]["problems"])

        assert "password authentication failed" in product.readiness()[1]["problems"]["database"]


def test_a_stop_is_announced_before_it_happens(databases: Mapping[str, str], tmp_path: Path) -> None:
    with product_service(tmp_path, product_dsn=databases["product"], drain_delay=600) as product:
        product.until(lambda: product.readiness()[0] == 200)

        product.process.terminate()

        product.until(lambda: product.readiness()[0] == 503)
        assert product.readiness()[1]["problems"] == {"process": "it stops"}
        assert product.is_alive()


def test_a_part_ends_once_it_was_drained(databases: Mapping[str, str], tmp_path: Path) -> None:
    with product_service(tmp_path, product_dsn=databases["product"], drain_delay=0.1) as product:
        product.until(lambda: product.readiness()[0] == 200)

        product.process.terminate()

        assert product.process.wait(30) == 0


def test_a_taken_port_is_named_with_its_setting(postgres: PostgresServer, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with product_service(tmp_path, product_dsn=postgres.templates["product"], product_listen=listen) as product:
            code = product.process.wait(60)

    assert code == 2
    assert f"ORDERSAGA_PRODUCT_LISTEN: cannot listen on {listen}: is the port taken?" in product.log.read_text()
