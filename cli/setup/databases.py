"""The databases: their tables brought up to date by their owners, and the other roles let in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.exc import ArgumentError

from migrations.grants import Roles
from migrations.runner import SERVICES, upgrade_all
from runtime.database import sqlalchemy_url
from runtime.refusal import Unavailable
from runtime.settings import Settings, SettingsError

CONNECT_SECONDS: Final = 10
NOBODY: Final = "none"
"""In place of a role's name, which it cannot be: PostgreSQL reserves the word."""

_MAY_MAKE_ROLES: Final = "SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user"


def set_up(settings: Settings) -> Iterator[str]:
    """Make the roles that are missing, bring all tables up to date, and give each role what it needs, and no more.

    Nothing is changed unless all databases can be reached.

    Returns:
        what was done, line by line.

    Raises:
        SettingsError: with one line per database or role that does not fit.
        Unavailable: with one line per database that does not answer.
    """
    faults: list[str] = []
    away: list[str] = []
    for service in SERVICES:
        try:
            _try_dsn(_owner_setting(settings, service), _owner_dsn(settings, service))
        except SettingsError as error:
            faults.append(str(error))
        except Unavailable as error:
            away.append(str(error))
    _raise([*faults, *away] if faults else [])
    if away:
        raise Unavailable("\n".join(away))
    made = [role for service in SERVICES for role in _make_roles(settings, service)]
    _raise([fault for service in SERVICES for fault in _role_faults(settings, service)])
    owners = {service: _owner_dsn(settings, service) for service in SERVICES}
    upgrade_all(owners, {service: _roles(settings, service) for service in SERVICES})
    yield from (f"role {role} made" for role in dict.fromkeys(made))
    yield f"up to date: {', '.join(owners)}"


def _raise(faults: list[str]) -> None:
    if faults:
        raise SettingsError("\n".join(dict.fromkeys(faults)))


def _owner_setting(settings: Settings, service: str) -> str:
    return f"ORDERSAGA_OWNER_DSNS, {service}" if service in settings.owner_dsns else f"ORDERSAGA_{service.upper()}_DSN"


def _owner_dsn(settings: Settings, service: str) -> str:
    owner = settings.owner_dsns.get(service)
    return settings.required(f"{service}_dsn") if owner is None else owner.get_secret_value()


def _roles(settings: Settings, service: str) -> Roles:
    is_owner = service not in settings.owner_dsns
    return Roles(
        service=None if is_owner else _user_of(settings.required(f"{service}_dsn")),
        relay=None if settings.relay_role == NOBODY else settings.relay_role,
        audit=None if settings.audit_role == NOBODY else settings.audit_role,
    )


def _make_roles(settings: Settings, service: str) -> Iterator[str]:
    """Make those of the service's roles that there are not, where its owner may, each with the password of its DSN."""
    with _connect(settings, service) as connection:
        if connection.execute(_MAY_MAKE_ROLES).fetchone() != (True,):
            return
        for _, role, dsn in _missing_roles(connection, settings, service):
            if dsn is not None and _user_of(dsn) == role:
                _make_role(connection, role, str(conninfo_to_dict(dsn).get("password") or ""))
                yield role


def _role_faults(settings: Settings, service: str) -> Iterator[str]:
    with _connect(settings, service) as connection:
        for setting, role, _ in _missing_roles(connection, settings, service):
            yield f"{setting}: there is no role {role}: CREATE ROLE {role} LOGIN PASSWORD '…'"


def _missing_roles(
    connection: psycopg.Connection, settings: Settings, service: str
) -> Iterator[tuple[str, str, str | None]]:
    """Setting, name and, where it is known, DSN of each role that is to be let in, and is not there."""
    known = {row[0] for row in connection.execute("SELECT rolname FROM pg_roles")}
    roles = _roles(settings, service)
    for setting, role, dsn in (
        (f"ORDERSAGA_{service.upper()}_DSN", roles.service, getattr(settings, f"{service}_dsn")),
        ("ORDERSAGA_RELAY_ROLE", roles.relay, settings.relay_dsns.get(service)),
        ("ORDERSAGA_AUDIT_ROLE", roles.audit, settings.audit_dsns.get(service)),
    ):
        if role is not None and role not in known:
            yield setting, role, None if dsn is None else dsn.get_secret_value()


def _connect(settings: Settings, service: str) -> psycopg.Connection:
    return psycopg.connect(_owner_dsn(settings, service), connect_timeout=CONNECT_SECONDS)


def _make_role(connection: psycopg.Connection, role: str, password: str) -> None:
    statement = sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role))
    if password:
        # as a digest, since the server may log the statement
        digest = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
        statement += sql.SQL(" PASSWORD {}").format(sql.Literal(digest))
    connection.execute(statement)


def _user_of(dsn: str) -> str:
    return str(conninfo_to_dict(dsn).get("user") or "")


def _try_dsn(name: str, dsn: str) -> None:
    try:
        sqlalchemy_url(dsn)
        psycopg.connect(dsn, connect_timeout=CONNECT_SECONDS).close()
    except psycopg.OperationalError as error:
        raise Unavailable(f"{name}: cannot connect: {' '.join(str(error).split())}") from None
    except (ArgumentError, ValueError, psycopg.ProgrammingError):  # their texts may quote the password
        raise SettingsError(f"{name}: must be a URI such as postgresql://role:password@host:5432/database") from None
