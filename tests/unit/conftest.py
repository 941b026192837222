"""Unit tests need no server, and get none."""

from __future__ import annotations

from typing import NoReturn

import pytest


@pytest.fixture(scope="session")
def postgres() -> NoReturn:
    """Refuse: a test that needs a database stands in the folder of what it tests."""
    pytest.fail("a unit test asked for PostgreSQL; it belongs into another folder of tests/")
