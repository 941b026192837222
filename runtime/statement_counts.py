"""How many statements and transactions a process runs in a database: what an order costs it, counted where SQL runs."""

from __future__ import annotations

from collections import Counter
from typing import LiteralString

from runtime.metrics import DATABASE_STATEMENTS, DATABASE_TRANSACTIONS


class StatementCounts:
    """What one `Database` has run so far. BEGIN and COMMIT are no statements here; what they enclose is a transaction.

    Args:
        name: of the database, for metrics.

    Attributes:
        statements: how often each was run, by its text: as many texts as the code has statements.
        transactions: how many were begun; a statement outside one is one.
    """

    def __init__(self, name: str) -> None:
        self.statements: Counter[str] = Counter()
        self.transactions = 0
        self._statements = DATABASE_STATEMENTS.labels(name)
        self._transactions = DATABASE_TRANSACTIONS.labels(name)

    def statement(self, text: LiteralString, *, alone: bool) -> None:
        """Count a statement, which is a transaction of its own where it stands alone."""
        self.statements[text] += 1
        self._statements.inc()
        if alone:
            self.transaction()

    def transaction(self) -> None:
        """Count a transaction."""
        self.transactions += 1
        self._transactions.inc()
