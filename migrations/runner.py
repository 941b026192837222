"""Runs Alembic for every database from one process, and grants the roles that read across services."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import psycopg
from alembic import command, context
from alembic.config import Config
from psycopg import sql
from sqlalchemy import MetaData, create_engine

from runtime.database import sqlalchemy_url

SERVICES: Final = ("user", "product", "inventory", "order", "payment", "notification")
_HERE = Path(__file__).parent


def upgrade(service: str, dsn: str, *, revision: str = "head") -> None:
    """Bring one service's database up to `revision`."""
    command.upgrade(_config(service, dsn), revision)


def downgrade(service: str, dsn: str, *, revision: str = "base") -> None:
    """Take one service's database back to `revision`."""
    command.downgrade(_config(service, dsn), revision)


def upgrade_all(dsns: Mapping[str, str], *, relay_role: str | None, audit_role: str | None) -> None:
    """Bring every database up to date; then let the relay at the outboxes and the audit read, where roles are named."""
    for service, dsn in dsns.items():
        upgrade(service, dsn)
        _grant(dsn, relay_role=relay_role, audit_role=audit_role)


def run_environment(metadata: MetaData) -> None:
    """What each ``env.py`` calls: run the migrations over one connection, in one transaction."""
    engine = create_engine(sqlalchemy_url(context.config.attributes["dsn"]))
    try:
        with engine.connect() as connection:
            context.configure(connection=connection, target_metadata=metadata, compare_type=True)
            with context.begin_transaction():
                context.run_migrations()
    finally:
        engine.dispose()


def _config(service: str, dsn: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_HERE / service))
    config.set_main_option("path_separator", "os")
    config.attributes["dsn"] = dsn
    return config


def _grant(dsn: str, *, relay_role: str | None, audit_role: str | None) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        if relay_role is not None:
            role = sql.Identifier(relay_role)
            connection.execute(sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(role))
            connection.execute(sql.SQL("GRANT SELECT, UPDATE ON outbox TO {}").format(role))
            connection.execute(sql.SQL("GRANT SELECT, INSERT, UPDATE ON relay_lease TO {}").format(role))
        if audit_role is not None:
            role = sql.Identifier(audit_role)
            connection.execute(sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(role))
            connection.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}").format(role))
