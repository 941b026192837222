"""`python -m bench.limits`: what the rate limits cost an order, in CPU of all who have a part in them.

An order is what a shop's page asks for: one POST of a signed-in customer, then two GETs. So the limits are asked six
times. They are asked as the gateway asks: over gRPC with mutual TLS of a user service on its PostgreSQL. Gateway and
service share a process here, as they do in the embedded stack, so its CPU time is that of both; PostgreSQL's is added.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import psycopg
import uvloop
from rich.console import Console
from rich.table import Table

from bench.cpu import cpu_seconds, spent
from domain.rate_limits import DEFAULT_RATES, Limit, Rate, Rates
from migrations.runner import upgrade
from ordersaga.limits.v1.limits_pb2_grpc import LimitsServiceStub
from runtime.identity import Credentials, Part
from runtime.limits.limiter import Limiter
from runtime.rpc_client import open_channel
from runtime.rpc_server import RpcServer
from runtime.settings import Settings
from runtime.tokens import TokenVerifier
from sandbox.certificates import CertificateAuthority
from sandbox.credentials import Credentials as Secrets
from sandbox.ports import HOST, free_port
from sandbox.postgres.databases import Databases
from sandbox.postgres.temporary import temporary_postgres
from services.user.bootstrap import bootstrap
from services.user.limits.server import limits_service

_WIDE: Final[Rates] = {limit: Rate(1_000_000, 60) for limit in DEFAULT_RATES}
_ADDRESSES: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """What the limiter asks."""

    limits: LimitsServiceStub


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """CPU of one order, ms."""

    python: float
    postgres: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A kind of traffic.

    Attributes:
        name: what it is.
        rates: the limits.
        limits: those of the account that an order asks, each after its address's.
        customers: who take turns; None for a new one each time.
    """

    name: str
    rates: Rates
    limits: tuple[Limit, ...] = (Limit.ORDERS, Limit.READS, Limit.READS)
    of_address: Limit = Limit.REQUESTS
    customers: int | None = None


CASES: Final = (
    Case(name="customers who order once", rates=DEFAULT_RATES),
    Case(name="one who orders without end, and is let", rates=_WIDE, customers=1),
    Case(
        name="if each of the six were asked of the shared bucket",
        rates=_WIDE,
        limits=(Limit.LOGINS, Limit.LOGINS, Limit.LOGINS),
        of_address=Limit.LOGINS,
    ),
)


async def drive(limiter: Limiter, case: Case, *, orders: int, at_once: int) -> None:
    """What the limits are asked for so many orders."""
    numbers = iter(range(orders))

    async def customer() -> None:
        for number in numbers:
            account = f"customer-{number if case.customers is None else number % case.customers}"
            for limit in case.limits:
                await limiter.take(case.of_address, f"address-{number % _ADDRESSES}")
                await limiter.take(limit, account)

    await asyncio.gather(*(customer() for _ in range(at_once)))


async def measure(behind: Behind, case: Case, *, postmaster: int, orders: int, at_once: int) -> Cost:
    """What one order costs in this traffic."""
    await drive(Limiter(behind, case.rates, patience=60), case, orders=100, at_once=at_once)  # connects
    limiter = Limiter(behind, case.rates, patience=60)
    pids = {"postgres": postmaster}
    before, began = cpu_seconds(pids), time.process_time()
    await drive(limiter, case, orders=orders, at_once=at_once)
    python = time.process_time() - began
    postgres = spent(before, cpu_seconds(pids))["postgres"]
    return Cost(python=1_000 * python / orders, postgres=1_000 * postgres / orders)


@asynccontextmanager
async def serving(databases: Databases, folder: Path) -> AsyncIterator[Behind]:
    """The user service's limits on its database, and the gateway's way to them."""
    await asyncio.to_thread(upgrade, "user", databases.owners["user"])
    certificates = CertificateAuthority().issue_all(folder)
    secrets = Secrets.load(folder / "secrets.json")
    settings = Settings.model_validate(
        {
            "user_dsn": databases.owners["user"],
            "jwt_private_key": secrets.jwt_private_key,
            "tls_ca_file": certificates.ca_file,
            "tls_certificate_file": certificates.certificate_file,
            "tls_key_file": certificates.key_file,
        }
    )
    async with AsyncExitStack() as stack:
        user = await stack.enter_async_context(bootstrap(settings))
        address = f"{HOST}:{free_port()}"
        server = RpcServer(
            address,
            [limits_service(user.limits)],
            credentials=Credentials.of(settings, Part.USER),
            verifier=TokenVerifier(secrets.jwt_public_keys),
            grace=1,
        )
        await stack.enter_async_context(server)
        channel = await stack.enter_async_context(
            open_channel(Part.USER, address, Credentials.of(settings, Part.GATEWAY))
        )
        yield Behind(limits=LimitsServiceStub(channel))


def find_postmaster(databases: Databases) -> int:
    """PostgreSQL's first process."""
    with psycopg.connect(databases.owners["user"]) as connection:
        backend = connection.info.backend_pid
    return int(Path(f"/proc/{backend}/stat").read_text().rsplit(") ", 1)[1].split()[1])


async def run(*, orders: int, rounds: int, at_once: int) -> None:
    """Measure every case so often in turns, and print what each cost."""
    costs: dict[str, list[Cost]] = {case.name: [] for case in CASES}
    with tempfile.TemporaryDirectory() as folder:
        async with temporary_postgres() as databases, serving(databases, Path(folder)) as behind:
            postmaster = find_postmaster(databases)
            for _ in range(rounds):
                for case in CASES:
                    costs[case.name].append(
                        await measure(behind, case, postmaster=postmaster, orders=orders, at_once=at_once)
                    )
    table = Table("CPU per order, ms, median (least to most)", "gateway and user service", "PostgreSQL")
    for name, measured in costs.items():
        table.add_row(name, _range([cost.python for cost in measured]), _range([cost.postgres for cost in measured]))
    Console().print(table)


def _range(values: Sequence[float]) -> str:
    return f"{median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--at-once", type=int, default=8)
    chosen = parser.parse_args()
    uvloop.run(run(orders=chosen.orders, rounds=chosen.rounds, at_once=chosen.at_once))


if __name__ == "__main__":
    main()
