"""The real parts, each once for the whole run: a test leaves them whole. Apache Kafka is in `tests/conftest.py`."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from sandbox.certificates import CertificateAuthority
from tests.support.real.exim import EximRelay
from tests.support.real.postgres import DebianPostgres
from tests.support.real.temporal import TemporalServer


@pytest_asyncio.fixture(scope="session")
async def debian_postgres(authority: CertificateAuthority) -> AsyncIterator[DebianPostgres]:
    """Debian's PostgreSQL: ours is for one stack; Temporal has databases of its own there."""
    with tempfile.TemporaryDirectory(prefix="ordersaga-postgres-") as folder:  # a socket's path has to be short
        async with DebianPostgres(Path(folder), authority=authority) as server:
            yield server


@pytest_asyncio.fixture(scope="session")
async def temporal(
    debian_postgres: DebianPostgres, authority: CertificateAuthority, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[TemporalServer]:
    """A Temporal server on it."""
    folder = tmp_path_factory.mktemp("temporal")
    async with TemporalServer(folder, postgres=debian_postgres, authority=authority) as server:
        yield server


@pytest_asyncio.fixture(scope="session")
async def relay(authority: CertificateAuthority) -> AsyncIterator[EximRelay]:
    """A mail server."""
    async with EximRelay(authority=authority) as relay:
        yield relay
