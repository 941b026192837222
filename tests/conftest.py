"""One throw-away PostgreSQL for the whole run, if a test needs it, and in it databases for each test process."""

from __future__ import annotations

import gc
import os
from collections.abc import AsyncIterator, Iterator, Mapping

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings

from sandbox.certificates import CertificateAuthority
from tests.support.real.kafka import KafkaCluster
from tests.support.shared_postgres import PostgresOnDemand, PostgresServer, ask_for_postgres, unique_suffix

# The same plans at each run, so that a red test is red because of its commit. No deadlines: the machine may be busy.
settings.register_profile("repeatable", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("search", settings.get_profile("repeatable"), derandomize=False, max_examples=1_000)
settings.load_profile("repeatable")

# Hashing is the subject of few tests: elsewhere it is cheap, in the processes that tests start too.
os.environ.setdefault("ORDERSAGA_PASSWORD_HASH_MEMORY", "32")

_ADDRESS = pytest.StashKey[str]()
_POSTGRES = pytest.StashKey[PostgresOnDemand]()


@pytest.hookimpl
def pytest_configure(config: pytest.Config) -> None:
    """Let test processes ask the controlling one for PostgreSQL, which it starts for the first of them."""
    if hasattr(config, "workerinput"):
        config.stash[_ADDRESS] = config.workerinput["postgres"]
        return
    postgres = PostgresOnDemand()
    config.stash[_POSTGRES] = postgres
    config.stash[_ADDRESS] = postgres.address


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: object) -> None:
    """Tell a test process where to ask."""
    config: pytest.Config = node.config  # type: ignore[attr-defined]  # xdist's controller object is untyped
    node.workerinput["postgres"] = config.stash[_ADDRESS]  # type: ignore[attr-defined]


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop PostgreSQL with the controlling process."""
    if _POSTGRES in config.stash:
        config.stash[_POSTGRES].close()


def pytest_report_header() -> str | None:
    """Say what is left out."""
    left_out = _programs_left_out()
    return f"left out: tests that need {', '.join(sorted(left_out))} (ORDERSAGA_WITHOUT)" if left_out else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests that need a program which ORDERSAGA_WITHOUT names, and spread the long ones over the processes."""
    left_out = _programs_left_out()
    deselected = {item for item in items for mark in item.iter_markers("needs") if left_out.intersection(mark.args)}
    if deselected:
        config.hook.pytest_deselected(items=list(deselected))
    long = [item for item in items if item.get_closest_marker("long") and item not in deselected]
    rest = [item for item in items if item not in deselected and item not in long]
    items[:] = rest
    for number, item in reversed(list(enumerate(long))):  # each process begins with as many neighbours
        items.insert(number * len(rest) // len(long), item)


def _programs_left_out() -> set[str]:
    return {name for name in os.environ.get("ORDERSAGA_WITHOUT", "").replace(" ", "").split(",") if name}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests counted and measured, their property `figure`: it is read by people and never asserted."""
    reports = [report for name in ("passed", "failed") for report in terminalreporter.getreports(name)]
    figures = [text for report in reports for name, text in report.user_properties if name == "figure"]
    explored = [dict(report.user_properties) for report in reports if "traces" in dict(report.user_properties)]
    if explored:  # some traces are met in more than one share
        traces = {trace for share in explored for trace in share["traces"]}
        seconds = sum(share["seconds"] for share in explored)
        figures.append(f"explored {len(traces)} traces of orders in {seconds:.0f} s of the shares together")
    if figures:
        terminalreporter.section("figures")
        for text in sorted(figures):
            terminalreporter.write_line(text)


@pytest.fixture(scope="session", autouse=True)
def patient_databases() -> Iterator[None]:
    """A machine that is busy takes a database for one that is away; where it is, the test says so."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("runtime.database.CONNECT_TIMEOUT", 60.0)
        yield


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> PostgresServer:
    """The run's PostgreSQL server."""
    return ask_for_postgres(request.config.stash[_ADDRESS])


@pytest.fixture(scope="session")
def databases(postgres: PostgresServer, worker_id: str) -> Mapping[str, str]:
    """Service name to the DSN of its migrated, empty database of this test process."""
    return postgres.copy_databases(unique_suffix(worker_id))


@pytest.fixture(scope="session")
def authority() -> CertificateAuthority:
    """Who signs the certificates of the real parts."""
    return CertificateAuthority()


@pytest_asyncio.fixture(scope="session")
async def apache_kafka(
    authority: CertificateAuthority, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[KafkaCluster]:
    """The run's Apache Kafka; a test that takes brokers away brings them back."""
    async with KafkaCluster(tmp_path_factory.mktemp("kafka"), authority=authority) as cluster:
        yield cluster


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Let no garbage collection go through thousands of collected tests, which stay to the end."""
    gc.collect()
    gc.freeze()
