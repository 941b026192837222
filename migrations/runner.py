"""Runs Alembic for every database from one process, and lets the roles in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import psycopg
from alembic import command, context
from alembic.config import Config
from sqlalchemy import MetaData, create_engine

from migrations.grants import Roles, grant
from runtime.database import sqlalchemy_url

SERVICES: Final = ("user", "product", "inventory", "order", "payment", "notification")
_HERE = Path(__file__).parent


def upgrade(service: str, dsn: str, *, revision: str = "head") -> None:
    """Bring one service's database up to `revision`."""
    command.upgrade(_config(service, dsn), revision)


def downgrade(service: str, dsn: str, *, revision: str = "base") -> None:
    """Take one service's database back to `revision`."""
    command.downgrade(_config(service, dsn), revision)


def upgrade_all(dsns: Mapping[str, str], roles: Mapping[str, Roles]) -> None:
    """Bring every database up to date; then give each role what it needs there, all or nothing.

    Args:
        dsns: service to its database, as its owner.
        roles: service to who is let in.
    """
    for service, dsn in dsns.items():
        upgrade(service, dsn)
        with psycopg.connect(dsn) as connection:
            grant(connection, service, roles[service])


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
