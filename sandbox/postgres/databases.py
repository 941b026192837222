"""The roles and databases inside the embedded PostgreSQL: one database per service, with an owner of its own.

The owner makes the tables; the service itself connects as another role, which `ordersaga setup` lets in.
"""

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
from psycopg.conninfo import make_conninfo

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
        owners: service name to its database, as its owner.
        services: service name to its database, as the role of the service.
        relay: service name to its database, as role ``relay``.
        audit: service name to its database, as role ``audit``.
    """

    admin: str
    owners: Mapping[str, str]
    services: Mapping[str, str]
    relay: Mapping[str, str]
    audit: Mapping[str, str]


def database_name(service: str) -> str:
    """The name of a service's database, and of the role of the service."""
    return f"ordersaga_{service}"


def owner_name(service: str) -> str:
    """The name of the role that owns the database and its tables."""
    return f"{database_name(service)}_owner"


def load_passwords(path: Path) -> dict[str, str]:
    """The roles' passwords from the file; what is missing there is made and added."""
    known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    roles = [*map(database_name, SERVICES), *map(owner_name, SERVICES), *READERS]
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
        owners={service: uri(service, owner_name(service)) for service in SERVICES},
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
        for service in SERVICES:
            if database_name(service) not in existing:
                await connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database_name(service))))
            await _grant(connection, service)
        for database in existing:
            await connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(database)))
    for service in SERVICES:
        await _give_tables_to_owner(admin, service)


async def _connect(uri: str) -> Connection:
    while True:
        try:
            return await psycopg.AsyncConnection.connect(uri, autocommit=True)
        except psycopg.OperationalError:  # it does not listen yet, or is still starting up
            await asyncio.sleep(POLL_SECONDS)


async def _names(connection: Connection, query: LiteralString) -> set[str]:
    cursor = await connection.execute(query)
    return {str(name) for (name,) in await cursor.fetchall()}


async def _grant(connection: Connection, service: str) -> None:
    name, owner = sql.Identifier(database_name(service)), sql.Identifier(owner_name(service))
    others = sql.SQL(", ").join(map(sql.Identifier, [database_name(service), *READERS]))
    await connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(name, owner))
    await connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))
    await connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(name, others))


async def _give_tables_to_owner(admin: str, service: str) -> None:
    """In a folder from before services had owners, the tables are the service's."""
    dsn = make_conninfo(admin, dbname=database_name(service))
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(
            sql.SQL("REASSIGN OWNED BY {} TO {}").format(
                sql.Identifier(database_name(service)), sql.Identifier(owner_name(service))
            )
        )
