"""The roles and databases inside the embedded PostgreSQL: one database per service, owned by a role of its own."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, LiteralString
from urllib.parse import quote

import psycopg
from psycopg import sql

from sandbox.files import write_private
from sandbox.ports import HOST, POLL_SECONDS

SERVICES: Final = ("user", "product", "inventory", "order", "payment", "notification")
READERS: Final = ("relay", "audit")
"""Roles of the whole cluster that may connect to every database; migrations grant them tables."""

SUPERUSER: Final = "postgres"

Connection = psycopg.AsyncConnection[tuple[object, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Databases:
    """Connection URIs (libpq).

    Attributes:
        admin: database ``postgres`` as superuser, over the unix socket.
        services: service name to its database, as its owner.
        relay: service name to its database, as role ``relay``.
        audit: service name to its database, as role ``audit``.
    """

    admin: str
    services: Mapping[str, str]
    relay: Mapping[str, str]
    audit: Mapping[str, str]


def database_name(service: str) -> str:
    """The name of a service's database and of the role that owns it."""
    return f"ordersaga_{service}"


def load_passwords(path: Path) -> dict[str, str]:
    """The roles' passwords from the file; what is missing there is made and added."""
    known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    roles = [*(database_name(service) for service in SERVICES), *READERS]
    passwords = {role: known.get(role) or secrets.token_urlsafe(24) for role in roles}
    if passwords != known:
        write_private(path, json.dumps(passwords, indent=2))
    return passwords


def describe(*, passwords: Mapping[str, str], sockets: Path, port: int) -> Databases:
    """The URIs of a server with these passwords."""

    def uri(service: str, role: str) -> str:
        return f"postgresql://{role}:{passwords[role]}@{HOST}:{port}/{database_name(service)}"

    return Databases(
        admin=f"postgresql://{SUPERUSER}@/postgres?host={quote(str(sockets), safe='')}&port={port}",
        services={service: uri(service, database_name(service)) for service in SERVICES},
        relay={service: uri(service, "relay") for service in SERVICES},
        audit={service: uri(service, "audit") for service in SERVICES},
    )


async def set_up(admin: str, passwords: Mapping[str, str]) -> None:
    """Wait for the server's first answer, then make it have all roles, passwords, databases and rights to connect.

    Can be repeated. Waits without limit; the caller has one.
    """
    async with await _connect(admin) as connection:
        for role in passwords.keys() - await _names(connection, "SELECT rolname FROM pg_roles"):
            await connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
        for role, password in passwords.items():
            await connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), password))
        existing = await _names(connection, "SELECT datname FROM pg_database")
        for database in map(database_name, SERVICES):
            if database not in existing:
                await connection.execute(sql.SQL("CREATE DATABASE {0} OWNER {0}").format(sql.Identifier(database)))
            await _grant(connection, database)


async def _connect(uri: str) -> Connection:
    while True:
        try:
            return await psycopg.AsyncConnection.connect(uri, autocommit=True)
        except psycopg.OperationalError:  # it does not listen yet, or is still starting up
            await asyncio.sleep(POLL_SECONDS)


async def _names(connection: Connection, query: LiteralString) -> set[str]:
    cursor = await connection.execute(query)
    return {str(name) for (name,) in await cursor.fetchall()}


async def _grant(connection: Connection, database: str) -> None:
    name = sql.Identifier(database)
    readers = sql.SQL(", ").join(sql.Identifier(reader) for reader in READERS)
    await connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))
    await connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(name, readers))
