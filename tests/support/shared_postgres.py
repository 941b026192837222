"""One throw-away PostgreSQL for all test processes, started when a test asks for it, and copies of its databases.

The process that pytest was started in has it. Test processes ask over a Unix socket, and that process itself does the
same; so tests that need no database start nothing.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from migrations.grants import Roles
from migrations.runner import upgrade_all
from sandbox.postgres.temporary import temporary_postgres_in_thread


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """The running server.

    Attributes:
        admin: DSN of its administrator.
        templates: service to the DSN of its migrated, empty database, which only copies are made of.
    """

    admin: str
    templates: Mapping[str, str]

    def copy_databases(self, suffix: str, services: Sequence[str] = ()) -> dict[str, str]:
        """Make databases of one's own, of all services or some; service to DSN. The suffix tells them from others."""
        dsns: dict[str, str] = {}
        with psycopg.connect(self.admin, autocommit=True) as connection:
            for service in services or self.templates:
                template = conninfo_to_dict(self.templates[service])
                name = f"{service}_{suffix}"
                connection.execute(
                    sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {} STRATEGY file_copy").format(
                        sql.Identifier(name),
                        sql.Identifier(str(template["user"])),
                        sql.Identifier(str(template["dbname"])),
                    )
                )
                dsns[service] = self.templates[service].rsplit("/", 1)[0] + f"/{name}"
        return dsns


class PostgresOnDemand:
    """Starts the server when the first test process asks where it is; stops it with the run."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="ordersaga-tests-"))
        self._listener = Listener(str(self._folder / "postgres.socket"), authkey=None)
        self._stack = ExitStack()
        self._server: PostgresServer | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._answer, name="postgres-on-demand", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """Where `ask_for_postgres` finds it."""
        return str(self._listener.address)

    def close(self) -> None:
        """Stop the server, if it was started."""
        self._closing = True
        with Client(self.address):  # wakes the thread
            self._thread.join()
        self._listener.close()
        self._stack.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _answer(self) -> None:
        while not self._closing:
            with self._listener.accept() as asking:
                if not self._closing:
                    self._tell(asking)

    def _tell(self, asking: Connection) -> None:
        try:
            self._server = self._server or self._start()
        except Exception as error:  # whoever asks is to fail with it, and not wait for ever
            asking.send(RuntimeError(f"PostgreSQL did not start: {error}"))
        else:
            asking.send(self._server)

    def _start(self) -> PostgresServer:
        databases = self._stack.enter_context(temporary_postgres_in_thread())
        templates = dict(databases.owners)
        upgrade_all(templates, dict.fromkeys(templates, Roles(relay="relay", audit="audit")))
        return PostgresServer(admin=databases.admin, templates=templates)


def ask_for_postgres(address: str) -> PostgresServer:
    """The run's server, started now if need be.

    Raises:
        RuntimeError: it did not start.
    """
    with Client(address) as connection:
        answer: PostgresServer | RuntimeError = connection.recv()
    if isinstance(answer, RuntimeError):
        raise answer
    return answer


def unique_suffix(worker_id: str) -> str:
    """For the databases of one test process."""
    return f"{worker_id}_{os.getpid()}"
