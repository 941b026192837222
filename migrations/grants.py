"""What each PostgreSQL role may do in a service's database: no more than its statements need.

The owner makes the tables. The service reads and writes rows, and changes no table. The relay reads the outbox and
marks rows as published; it cannot change an event. The audit reads the columns that its rules are about, in three
databases, and no name, address or password.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, LiteralString

import psycopg
from psycopg import sql

_VERSION: Final = {"alembic_version": ["version_num"]}
AUDITED: Final[Mapping[str, Mapping[str, Sequence[str]]]] = {
    "order": {
        "orders": ["id", "status", "seq", "total", "refunded", "currency", "created_at", "updated_at"],
        "order_items": ["order_id", "product_id", "quantity", "unit_price"],
        "order_adjustments": ["order_id", "type", "amount"],
        "order_transitions": ["order_id", "seq", "from_status", "to_status", "at"],
        "outbox": ["id", "ce_id", "published_at"],
        "retention": ["name", "horizon"],
    },
    "inventory": {
        "reservations": ["order_id", "status"],
        "reservation_lines": ["order_id", "product_id", "quantity"],
        "stock": ["product_id", "on_hand", "reserved", "seq"],
        "movements": ["product_id", "seq", "kind", "on_hand_change", "order_id", "restock_id"],
    },
    "payment": {
        "payments": [
            *("id", "order_id", "status", "amount", "currency", "amount_received", "currency_received"),
            *("intent_id", "seq"),
        ],
        "refunds": [
            *("id", "payment_id", "status", "amount", "stripe_refund_id", "version", "saga_open"),
            *("created_at", "updated_at"),
        ],
        "disputes": [
            *("id", "payment_id", "status", "amount", "currency", "withdrawn", "version", "saga_open"),
            *("created_at", "updated_at"),
        ],
        "provider_events": ["event_id", "status", "received_at"],
    },
}
"""Service to the columns that the audit reads (`cli.audit.read_databases`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """Names of roles that are let into a database; who is None is not.

    Attributes:
        service: runs the service, without being the owner.
        relay: publishes the outbox.
        audit: reads.
    """

    service: str | None = None
    relay: str | None = None
    audit: str | None = None


def grant(connection: psycopg.Connection, service: str, roles: Roles) -> None:
    """Give each role what it needs in the service's database, and take away what it has besides. As the owner.

    The tables are those of the schema in which the connection makes its own.
    """
    schema = connection.execute("SELECT current_schema()").fetchone()
    grants = _Grants(connection, str(schema[0] if schema else "public"))
    grants.execute("REVOKE ALL ON SCHEMA {schema} FROM PUBLIC")
    if roles.service is not None:
        grants.let_in(roles.service)
        grants.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}", roles.service)
        grants.execute("REVOKE INSERT, UPDATE, DELETE ON {schema}.alembic_version FROM {role}", roles.service)
    if roles.relay is not None:
        grants.let_in(roles.relay)
        grants.execute("GRANT SELECT, UPDATE (published_at) ON {schema}.outbox TO {role}", roles.relay)
        grants.execute("GRANT SELECT, INSERT, UPDATE ON {schema}.relay_lease TO {role}", roles.relay)
        grants.let_read(_VERSION, roles.relay)
    if roles.audit is not None:
        grants.shut_out(roles.audit)
        if (audited := AUDITED.get(service)) is not None:
            grants.let_in(roles.audit)
            grants.let_read({**audited, **_VERSION}, roles.audit)


class _Grants:
    """Statements about the tables of one schema."""

    def __init__(self, connection: psycopg.Connection, schema: str) -> None:
        self._connection = connection
        self._schema = sql.Identifier(schema)

    def execute(self, statement: LiteralString, role: str = "") -> None:
        """Execute a statement with {database}, {schema} and {role} in it."""
        database = sql.Identifier(self._connection.info.dbname)
        self._connection.execute(
            sql.SQL(statement).format(database=database, schema=self._schema, role=sql.Identifier(role))
        )

    def shut_out(self, role: str) -> None:
        """Take every right in the schema away."""
        self.execute("REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {role}", role)
        self.execute("REVOKE ALL ON SCHEMA {schema} FROM {role}", role)

    def let_in(self, role: str) -> None:
        """Let the role connect and see the schema, and nothing in it."""
        self.shut_out(role)
        self.execute("GRANT CONNECT ON DATABASE {database} TO {role}", role)
        self.execute("GRANT USAGE ON SCHEMA {schema} TO {role}", role)

    def let_read(self, columns: Mapping[str, Sequence[str]], role: str) -> None:
        """Let the role read these columns of each table."""
        for table, names in columns.items():
            statement = sql.SQL("GRANT SELECT ({columns}) ON {schema}.{table} TO {role}").format(
                columns=sql.SQL(", ").join(map(sql.Identifier, names)),
                schema=self._schema,
                table=sql.Identifier(table),
                role=sql.Identifier(role),
            )
            self._connection.execute(statement)
