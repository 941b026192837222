"""Debian's PostgreSQL as it is run in production: TLS alone, passwords by SCRAM, a role for each use of a database."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

import psycopg
from psycopg import sql

from sandbox.certificates import CertificateAuthority
from sandbox.child import Child, Command, run_to_completion
from sandbox.external import External
from sandbox.files import write_private
from sandbox.ports import HOST, free_port
from sandbox.postgres.databases import SERVICES, Databases, database_name, describe, load_passwords, set_up
from sandbox.postgres.launch import Launch
from tests.support.programs import missing

OLDEST: Final = 15
_HOME: Final = Path("/usr/lib/postgresql")
_READY_SECONDS: Final = 60.0
_HBA: Final = "local all postgres trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n"
"""Over TCP nobody comes in without TLS; the administrator comes over the socket, which is in a private folder."""


def _binaries() -> Path:
    versions = [int(folder.name) for folder in _HOME.glob("[0-9]*") if (folder / "bin" / "initdb").exists()]
    if not versions or max(versions) < OLDEST:
        missing(f"PostgreSQL {OLDEST}", "apt-get install postgresql", without="postgresql")
    return _HOME / str(max(versions)) / "bin"


class DebianPostgres:
    """A server on loopback with the six databases and their roles, as long as the context is open.

    Attributes:
        external: what of the embedded stack it stands for.
        environment: what a deployment sets to use it.
        databases: every database by every role.
        ca_file: whose certificates the server's is one of.
    """

    external: Final = External.POSTGRES

    def __init__(self, folder: Path, *, authority: CertificateAuthority) -> None:
        """Describe the server; nothing runs yet.

        Args:
            folder: private and empty, with a path of less than 80 bytes.
            authority: whom the clients trust.
        """
        self._folder = folder
        self.port = free_port()
        self.ca_file = folder / "ca.pem"
        self.ca_file.write_bytes(authority.pem)
        self._certificate, self._key = authority.issue_for_host("localhost")
        self._passwords = load_passwords(folder / "passwords.json")
        self.databases = _over_tls(describe(passwords=self._passwords, sockets=folder, port=self.port), self.ca_file)
        self._child: Child | None = None

    @property
    def environment(self) -> Mapping[str, str]:
        """See the class."""
        services = self.databases.services.items()
        return {
            **{f"ORDERSAGA_{service.upper()}_DSN": dsn for service, dsn in services},
            "ORDERSAGA_OWNER_DSNS": json.dumps(self.databases.owners),
            "ORDERSAGA_RELAY_DSNS": json.dumps(self.databases.relay),
            "ORDERSAGA_AUDIT_DSNS": json.dumps(self.databases.audit),
        }

    async def __aenter__(self) -> Self:
        self._launch = replace(await Launch.find(self._folder / "data"), binaries=_binaries())
        self._launch.own(self._folder)
        await self._create_cluster()
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._child is not None:
            await self._child.stop()
        shutil.rmtree(self._launch.data, ignore_errors=True)  # not always in the folder: see `Launch`

    async def start(self) -> None:
        """Start it; return when it answers and has all databases and roles."""
        options = ["-D", str(self._launch.data), "-k", str(self._folder), "-h", HOST, "-p", str(self.port)]
        self._child = await Child.start(
            Command(
                name="debian-postgres",
                arguments=self._launch.command("postgres", *options),
                log=self._folder / "postgres.log",
                environment=self._launch.environment,
                folder=Path("/"),
                stop_signal=signal.SIGINT,
                escalation_signal=signal.SIGQUIT,
                owner=self._launch.owner,
            )
        )
        try:
            await self._child.wait_for(set_up(self.databases.admin, self._passwords), within=_READY_SECONDS)
        except BaseException:
            await self._child.stop()
            raise

    async def renew(self) -> None:
        """Give the six databases up for new ones, for another stack."""
        await asyncio.to_thread(self._drop_databases)
        await set_up(self.databases.admin, self._passwords)

    def _drop_databases(self) -> None:
        with psycopg.connect(self.databases.admin, autocommit=True) as connection:
            for service in SERVICES:
                name = sql.Identifier(database_name(service))
                connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))

    async def create_database(self, name: str, *, password: str) -> None:
        """Create a database for another program, and a role of its name that owns it."""
        await asyncio.to_thread(self._create_database, name, password)

    def _create_database(self, name: str, password: str) -> None:
        role = sql.Identifier(name)
        with psycopg.connect(self.databases.admin, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, password))
            connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(role, role))

    async def _create_cluster(self) -> None:
        data = self._launch.data
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._launch.own(data)
        options = ["--pgdata", str(data), "--username", "postgres", "--encoding", "UTF8", "--locale", "C.UTF-8"]
        initdb = Command(
            name="debian-initdb",
            arguments=self._launch.command("initdb", *options),
            log=self._folder / "initdb.log",
            environment=self._launch.environment,
            folder=Path("/"),
            owner=self._launch.owner,
        )
        await run_to_completion(initdb, within=_READY_SECONDS)
        for name, text in {
            "server.pem": self._certificate.decode(),
            "server.key": self._key.decode(),
            "pg_hba.conf": _HBA,
            "postgresql.auto.conf": (
                "ssl = on\nssl_cert_file = 'server.pem'\nssl_key_file = 'server.key'\n"
                "password_encryption = 'scram-sha-256'\nmax_connections = 200\ntimezone = 'UTC'\n"
            ),
        }.items():
            write_private(data / name, text)
            self._launch.own(data / name)


def _over_tls(databases: Databases, ca_file: Path) -> Databases:
    """The same, with a server that has to prove who it is."""
    trust = f"?sslmode=verify-full&sslrootcert={quote(str(ca_file), safe='')}"

    def by(uris: Mapping[str, str]) -> dict[str, str]:
        return {service: uri + trust for service, uri in uris.items()}

    return Databases(
        admin=databases.admin,
        owners=by(databases.owners),
        services=by(databases.services),
        relay=by(databases.relay),
        audit=by(databases.audit),
    )
