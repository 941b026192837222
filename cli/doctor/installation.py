"""What no part looks at by itself: rights in the databases, the audit's access, topics, Stripe's endpoint, keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Final

import psycopg
from psycopg.errors import InsufficientPrivilege, UndefinedTable
from psycopg.rows import dict_row

from cli.doctor.finding import Finding, State, found
from migrations.grants import AUDITED
from migrations.runner import SERVICES
from runtime import kafka_topics, temporal_namespace
from runtime.connecting import with_keepalives
from runtime.health import Check, NotSetUp, ask
from runtime.refusal import Unavailable
from runtime.settings import Settings
from runtime.temporal import connect_temporal
from runtime.tokens import signs_for
from services.payment.stripe import endpoint
from services.payment.stripe.client import open_stripe

NAME: Final = "installation"
_SECONDS: Final = 15.0
_LACKING: Final = """
    SELECT relname AS table_name
      FROM pg_class
     WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND relname <> 'alembic_version'
       AND NOT (has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
            AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE'))
     ORDER BY relname
"""
_POWERS: Final = """
    SELECT current_user AS role,
           (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS is_superuser,
           has_schema_privilege(current_schema(), 'CREATE') AS may_create
"""


async def examine_installation(settings: Settings) -> Sequence[Finding]:
    """Each of these, as far as the settings tell where it is."""
    checks, skipped = _checks(settings)
    problems = await ask(checks, within=_SECONDS)
    rights = [await _examine_rights(settings, service) for service in SERVICES]
    return [
        *(finding for finding in rights if finding is not None),
        *(found(NAME, name, problems.get(name)) for name in checks),
        *(Finding(NAME, name, State.SKIPPED, f"{setting} is not set") for name, setting in skipped.items()),
    ]


def _checks(settings: Settings) -> tuple[Mapping[str, Check], Mapping[str, str]]:
    """What to look at, and what cannot be looked at for want of a setting."""
    checks: dict[str, Check] = {
        "temporal retention": partial(_find_short_retention, settings),
        "kafka topics": partial(_find_topic_faults, settings),
    }
    skipped: dict[str, str] = {}
    for service in SERVICES:
        if (owner := settings.owner_dsns.get(service)) is not None:
            checks[f"owner of database {service}"] = partial(_find_problem, owner.get_secret_value())
    for service, tables in AUDITED.items():
        name = f"audit of database {service}"
        if (dsn := settings.audit_dsns.get(service)) is not None:
            checks[name] = partial(_find_hidden, dsn.get_secret_value(), tables)
        else:
            skipped[name] = f"ORDERSAGA_AUDIT_DSNS, {service},"
    if settings.stripe_webhook_url is None:
        skipped["stripe endpoint"] = "ORDERSAGA_STRIPE_WEBHOOK_URL"
    else:
        checks["stripe endpoint"] = partial(_find_endpoint_problem, settings, settings.stripe_webhook_url)
    if settings.jwt_private_key is None or settings.jwt_public_keys is None:
        skipped["token keys"] = "ORDERSAGA_JWT_PRIVATE_KEY or ORDERSAGA_JWT_PUBLIC_KEYS"
    else:
        checks["token keys"] = partial(_find_foreign_key, settings)
    return checks, skipped


async def _find_problem(dsn: str) -> str | None:
    try:
        await (await psycopg.AsyncConnection.connect(with_keepalives(dsn))).close()
    except psycopg.Error as error:
        return f"it does not answer: {error}"
    return None


async def _find_hidden(dsn: str, tables: Mapping[str, Sequence[str]]) -> str | None:
    """Columns that the audit has to read and may not."""
    try:
        async with await psycopg.AsyncConnection.connect(with_keepalives(dsn)) as connection:
            for table, columns in tables.items():
                await connection.execute(f"SELECT {', '.join(columns)} FROM {table} LIMIT 0".encode())  # noqa: S608 - ours
    except (InsufficientPrivilege, UndefinedTable) as error:
        return NotSetUp(f"{error.diag.message_primary}; run `ordersaga setup databases`")
    except psycopg.Error as error:
        return f"it does not answer: {error}"
    return None


async def _examine_rights(settings: Settings, service: str) -> Finding | None:
    """Whether the service's role may do what it has to, and no more; None where its database does not answer."""
    check, dsn = f"rights in database {service}", getattr(settings, f"{service}_dsn")
    if dsn is None:
        return Finding(NAME, check, State.SKIPPED, f"ORDERSAGA_{service.upper()}_DSN is not set")
    try:
        async with await psycopg.AsyncConnection.connect(
            with_keepalives(dsn.get_secret_value()), row_factory=dict_row
        ) as connection:
            lacking = [row["table_name"] for row in await (await connection.execute(_LACKING)).fetchall()]
            powers = await (await connection.execute(_POWERS)).fetchone()
    except psycopg.Error:  # the service's own line says so
        return None
    if lacking:
        tables = ", ".join(lacking)
        return found(NAME, check, f"its role may not read and write {tables}; run `ordersaga setup databases`")
    too_much = list(_too_much(powers or {}))
    if too_much:
        return Finding(NAME, check, State.ADVICE, f"{'; '.join(too_much)}: name an owner in ORDERSAGA_OWNER_DSNS")
    return Finding(NAME, check, State.OK)


def _too_much(powers: Mapping[str, object]) -> Iterator[str]:
    if powers.get("is_superuser"):
        yield f"role {powers['role']} is a superuser"
    elif powers.get("may_create"):
        yield f"role {powers['role']} may change tables"


async def _find_short_retention(settings: Settings) -> str | None:
    client = await connect_temporal(settings, lazy=True)
    return await temporal_namespace.find_short_retention(client, least=timedelta(seconds=settings.temporal_retention))


async def _find_topic_faults(settings: Settings) -> str | None:
    try:
        return await kafka_topics.find_faults(settings)
    except Unavailable as unusable:
        return str(unusable)


async def _find_endpoint_problem(settings: Settings, url: str) -> str | None:
    async with open_stripe(settings) as client:
        return await endpoint.find_problem(client, url)


async def _find_foreign_key(settings: Settings) -> str | None:
    if signs_for(settings.required("jwt_private_key"), settings.required("jwt_public_keys")):
        return None
    return (
        "ORDERSAGA_JWT_PUBLIC_KEYS lacks the public key of ORDERSAGA_JWT_PRIVATE_KEY: nobody's token is taken; "
        "`ordersaga keys public` prints the set"
    )
