"""One throw-away PostgreSQL for the whole run, and in it six migrated databases for each test process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from migrations.runner import upgrade_all
from sandbox.postgres_temporary import temporary_postgres_in_thread

# The same plans at each run, so that a red test is red because of its commit. No deadlines: the machine may be busy.
settings.register_profile("repeatable", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("search", settings.get_profile("repeatable"), derandomize=False, max_examples=1_000)
settings.load_profile("repeatable")

_ADMIN = pytest.StashKey[str]()
_SERVICES = pytest.StashKey[Mapping[str, str]]()
_STACK = pytest.StashKey[ExitStack]()


@pytest.hookimpl
def pytest_configure(config: pytest.Config) -> None:
    """Start PostgreSQL in the controlling process; test processes get its address from there."""
    if hasattr(config, "workerinput"):
        config.stash[_ADMIN] = config.workerinput["postgres_admin"]
        config.stash[_SERVICES] = config.workerinput["postgres_services"]
        return
    stack = ExitStack()
    databases = stack.enter_context(temporary_postgres_in_thread())
    config.stash[_STACK] = stack
    config.stash[_ADMIN] = databases.admin
    config.stash[_SERVICES] = dict(databases.services)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: object) -> None:
    """Tell a test process where PostgreSQL is."""
    config: pytest.Config = node.config  # type: ignore[attr-defined]  # xdist's controller object is untyped
    node.workerinput["postgres_admin"] = config.stash[_ADMIN]  # type: ignore[attr-defined]
    node.workerinput["postgres_services"] = config.stash[_SERVICES]  # type: ignore[attr-defined]


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop PostgreSQL with the controlling process."""
    if _STACK in config.stash:
        config.stash[_STACK].close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests counted and measured, their property `figure`: it is read by people and never asserted."""
    reports = [report for name in ("passed", "failed") for report in terminalreporter.getreports(name)]
    figures = [text for report in reports for name, text in report.user_properties if name == "figure"]
    explored = [dict(report.user_properties) for report in reports if "traces" in dict(report.user_properties)]
    if explored:  # the explorer's shares ran side by side, and some traces are met in more than one
        traces = {trace for share in explored for trace in share["traces"]}
        figures.append(f"explored {len(traces)} traces in {max(share['seconds'] for share in explored):.0f} s")
    if figures:
        terminalreporter.section("figures")
        for text in sorted(figures):
            terminalreporter.write_line(text)


@pytest.fixture(scope="session")
def databases(request: pytest.FixtureRequest, worker_id: str) -> Iterator[Mapping[str, str]]:
    """Service name to the DSN of its migrated, empty database of this test process."""
    config = request.config
    names = {service: f"{service}_{worker_id}" for service in config.stash[_SERVICES]}
    with psycopg.connect(config.stash[_ADMIN], autocommit=True) as connection:
        dsns = {}
        for service, dsn in config.stash[_SERVICES].items():
            parts = conninfo_to_dict(dsn)
            owner = sql.Identifier(str(parts["user"]))
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {} STRATEGY file_copy").format(sql.Identifier(names[service]), owner)
            )
            dsns[service] = dsn.rsplit("/", 1)[0] + f"/{names[service]}"
        upgrade_all(dsns, relay_role="relay", audit_role="audit")
        yield dsns
