"""PostgreSQL for tests, where no test asks for it."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.shared_postgres import PostgresOnDemand


def children() -> str:
    return "".join(path.read_text() for path in Path(f"/proc/{os.getpid()}/task").glob("*/children"))


def test_nothing_is_started_while_nobody_asks() -> None:
    before = children()
    postgres = PostgresOnDemand()
    try:
        assert children() == before
    finally:
        postgres.close()

    assert children() == before
