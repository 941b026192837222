"""What orders cost in PostgreSQL: statements by service, transactions and bytes on disk by database.

Statements are counted by the services themselves, as their metrics say. Transactions are PostgreSQL's own count, so
the relay's, LISTEN's and what runs by the clock are among them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, Self

import httpx
import psycopg
from prometheus_client.parser import text_string_to_metric_families

from sandbox.endpoints import Endpoints

_STATEMENTS: Final = "ordersaga_database_statements"
_DATABASE: Final = """
    SELECT xact_commit + xact_rollback, pg_database_size(datname) FROM pg_stat_database
     WHERE datname = current_database()
"""
_REPORT_SECONDS: Final = 1.5
"""A backend tells PostgreSQL of its transactions once a second at most."""


@dataclass(frozen=True, slots=True)
class DatabaseCost:
    """Counts and bytes so far; or, as a difference, those of some orders; by service."""

    statements: Mapping[str, float]
    transactions: Mapping[str, float]
    bytes: Mapping[str, float]

    @classmethod
    def median(cls, rounds: Sequence[DatabaseCost]) -> Self:
        """Of several rounds."""
        return cls(
            statements=_median([each.statements for each in rounds]),
            transactions=_median([each.transactions for each in rounds]),
            bytes=_median([each.bytes for each in rounds]),
        )

    @classmethod
    async def read(cls, endpoints: Endpoints) -> Self:
        """As they are now, once every backend has reported."""
        await asyncio.sleep(_REPORT_SECONDS)
        transactions, sizes = dict[str, float](), dict[str, float]()
        for service, dsn in endpoints.postgres.items():
            async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
                [[counted, size]] = await (await connection.execute(_DATABASE)).fetchall()
            transactions[service], sizes[service] = float(counted), float(size)
        return cls(
            statements=await _read_statements(endpoints),
            transactions=transactions,
            bytes=sizes,
        )

    def lines(self) -> Iterator[tuple[str, str]]:
        """What is printed: a figure and its parts."""
        for name, parts, unit in (
            ("statements", self.statements, 1),
            ("transactions", self.transactions, 1),
            ("kB on disk", self.bytes, 1_000),
        ):
            each = ", ".join(f"{service} {value / unit:.1f}" for service, value in parts.items())
            yield f"{name} per order", f"{sum(parts.values()) / unit:.1f}: {each}"

    def since(self, before: Self, *, orders: int) -> DatabaseCost:
        """Per order, of so many since then."""
        return DatabaseCost(
            statements=_per_order(before.statements, self.statements, orders),
            transactions=_per_order(before.transactions, self.transactions, orders),
            bytes=_per_order(before.bytes, self.bytes, orders),
        )


async def _read_statements(endpoints: Endpoints) -> dict[str, float]:
    counted: dict[str, float] = {}
    async with httpx.AsyncClient(timeout=10) as client:
        for probe in dict.fromkeys(endpoints.probes.values()):
            text = (await client.get(f"{probe}/metrics")).raise_for_status().text
            for family in text_string_to_metric_families(text):
                for sample in family.samples if family.name == _STATEMENTS else ():
                    service = sample.labels["database"]
                    counted[service] = counted.get(service, 0) + sample.value
    return counted


def _per_order(before: Mapping[str, float], after: Mapping[str, float], orders: int) -> dict[str, float]:
    return {service: (after[service] - before.get(service, 0)) / orders for service in sorted(after)}


def _median(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {service: median(each[service] for each in rounds) for service in rounds[0]}
