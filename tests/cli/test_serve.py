"""A part as a process: what it lacks is said by its probes, and it is ready once that is mended."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import tuple_row

from migrations.runner import upgrade
from sandbox.ports import free_port
from sandbox.processes import ROOT
from tests.support.busy_machine import slowdown
from tests.support.identities import tls_settings
from tests.support.shared_postgres import PostgresServer, unique_suffix

TIMEOUT = 30


class Served:
    """A running part."""

    def __init__(self, process: subprocess.Popen[bytes], probes: str, log: Path) -> None:
        self.process = process
        self.log = log
        self._probes = probes

    def readiness(self) -> tuple[int, dict[str, Any]]:
        answer = httpx.get(f"{self._probes}/readyz")
        return answer.status_code, answer.json()["parts"]["product"]

    def is_alive(self) -> bool:
        return httpx.get(f"{self._probes}/livez").status_code == 200

    def until(self, condition: Callable[[], bool]) -> None:
        began = time.monotonic()
        while True:
            try:
                if condition():
                    return
            except httpx.TransportError:
                assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() - began < TIMEOUT * slowdown(), self.log.read_text()
            time.sleep(0.05)


@contextmanager
def served(folder: Path, settings: Mapping[str, object]) -> Iterator[Served]:
    """The product service as `ordersaga serve` runs it."""
    port = free_port()
    listen = {"product_listen": f"127.0.0.1:{free_port()}", "probe_port": port, **tls_settings(), **settings}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ORDERSAGA_")}
    ours = {f"ORDERSAGA_{name.upper()}": str(value) for name, value in listen.items()}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "serve", "product"], cwd=ROOT, env=kept | ours, stdout=log, stderr=log
        )
    try:
        yield Served(process, f"http://127.0.0.1:{port}", folder / "log")
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def empty(postgres: PostgresServer, worker_id: str) -> str:
    """The DSN of a database without tables."""
    template = conninfo_to_dict(postgres.templates["product"])
    name = f"empty_{unique_suffix(worker_id)}"
    with psycopg.connect(postgres.admin, autocommit=True, row_factory=tuple_row) as connection:
        connection.execute(f'CREATE DATABASE "{name}" OWNER "{template["user"]}"'.encode())
    return postgres.templates["product"].rsplit("/", 1)[0] + f"/{name}"


def test_a_part_without_its_tables_is_alive_and_says_what_to_do(empty: str, tmp_path: Path) -> None:
    with served(tmp_path, {"product_dsn": empty}) as product:
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
    with served(tmp_path, {"product_dsn": wrong, "database_pooler": "session"}) as product:
        product.until(lambda: "database" in product.readiness()[1]["problems"])

        assert "password authentication failed" in product.readiness()[1]["problems"]["database"]


def test_a_stop_is_announced_before_it_happens(databases: Mapping[str, str], tmp_path: Path) -> None:
    with served(tmp_path, {"product_dsn": databases["product"], "drain_delay": 600}) as product:
        product.until(lambda: product.readiness()[0] == 200)

        product.process.terminate()

        product.until(lambda: product.readiness()[0] == 503)
        assert product.readiness()[1]["problems"] == {"process": "it stops"}
        assert product.is_alive()


def test_a_part_ends_once_it_was_drained(databases: Mapping[str, str], tmp_path: Path) -> None:
    with served(tmp_path, {"product_dsn": databases["product"], "drain_delay": 0.1}) as product:
        product.until(lambda: product.readiness()[0] == 200)

        product.process.terminate()

        assert product.process.wait(TIMEOUT) == 0


def test_a_taken_port_is_named_with_its_setting(postgres: PostgresServer, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        settings = {"product_dsn": postgres.templates["product"], "product_listen": listen}
        with served(tmp_path, settings) as product:
            code = product.process.wait(TIMEOUT * slowdown())

    assert code == 2
    assert f"ORDERSAGA_PRODUCT_LISTEN: cannot listen on {listen}: is the port taken?" in product.log.read_text()
