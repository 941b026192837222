"""G13: the document says what the gateway takes and answers, and the gateway does what the document says.

schemathesis makes requests of docs/openapi.json, for everybody to send to a whole running stack.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from itertools import count
from typing import Final

import httpx
import pytest
import pytest_asyncio

from cli.audit.invariants import CHECKS
from runtime.part_settings import SETTINGS
from sandbox.environment import process_environment
from tests.support.client import StackClient, running_stack
from tests.support.command import ordersaga
from tests.support.fuzz.draw import draw, load_document, operation_id, operations
from tests.support.fuzz.run import CALLERS, Fuzz, Outcome, cases_of
from tests.support.fuzz.shop import Accounts, furnish

pytestmark = [pytest.mark.more, pytest.mark.long]

REQUESTS: Final = int(os.environ.get("ORDERSAGA_FUZZ_REQUESTS", "5000"))
SEED: Final = int(os.environ.get("ORDERSAGA_FUZZ_SEED", "1"))
SECONDS: Final = float(os.environ.get("ORDERSAGA_FUZZ_SECONDS", "600"))
"""After which no more are sent."""

_AT_ONCE: Final = 5_000
"""Requests that are drawn at a time: a longer run begins to send soon, whatever drawing costs."""
_NEVER_SERVED: Final = frozenset({"confirmEmail", "resetPassword", "receiveStripeEvent"})
"""Operations that want a secret which is mailed, or Stripe's."""
_WIDE: Final = {
    "ORDERSAGA_MAX_OPEN_ORDERS": "1000000",
    "ORDERSAGA_MAX_HELD_UNITS": "100000000",
    "ORDERSAGA_REFUND_APPROVAL_LIMIT": "50",
}
"""One customer places all the orders here; some refunds need a second person, and some do not."""
_FAILED: Final = ('"request.failed"', '"request.refused_unexpectedly"', "Traceback", "never retrieved")
"""What our processes log of what nobody thought of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What was found, and the stack that it was found on."""

    outcome: Outcome
    stack: StackClient
    operations: frozenset[str]


@pytest_asyncio.fixture(scope="module")
async def run(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Run]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _WIDE.items():
            patch.setenv(name, value)
        async with running_stack(tmp_path_factory.mktemp("var")) as stack:
            known, customer = await furnish(stack)
            endpoints = stack.stack.endpoints
            found = operations(load_document())
            with httpx.Client(base_url=endpoints.gateway, timeout=30, trust_env=False) as http:
                accounts = Accounts(http, endpoints.accounts["admin"], customer.email)
                fuzz = Fuzz(endpoints.gateway, accounts, known, seed=SEED)
                ends = time.monotonic() + SECONDS
                for number in count():
                    most = min(REQUESTS, _AT_ONCE * (number + 1))
                    each = cases_of(found, requests_=most - fuzz.outcome.sent)
                    # not in the other thread: Hypothesis minds whoever draws from `random` meanwhile
                    drawn = [draw(operation, each, seed_=SEED + number) for operation in found]
                    await asyncio.to_thread(fuzz.run, drawn, most=most, ends=ends)
                    if most == REQUESTS or time.monotonic() > ends:
                        break
            yield Run(outcome=fuzz.outcome, stack=stack, operations=frozenset(map(operation_id, found)))


def test_document_and_gateway_agree(run: Run, record_property: Callable[[str, object], None]) -> None:
    record_property("figure", f"schemathesis, seed {SEED}: {run.outcome}")

    assert not run.outcome.findings, "\n\n".join(map(str, run.outcome.findings.values()))


def test_everybody_asked_for_every_operation(run: Run) -> None:
    assert set(run.outcome.met) == {(operation, caller) for operation in run.operations for caller in CALLERS}
    assert run.operations - run.outcome.served == _NEVER_SERVED


def test_money_stock_and_orders_agree_after_that(run: Run) -> None:
    audit = ordersaga("audit", environment=process_environment(run.stack.stack.settings, *SETTINGS))

    assert audit.returncode == 0, audit.stdout
    assert audit.stdout.count("holds") == len(CHECKS)


def test_nobody_logged_what_was_not_thought_of(run: Run) -> None:
    logged = {
        f"{path.name}: {line[:1_000]}"
        for path in (run.stack.var / "log").iterdir()
        for line in path.read_text(errors="replace").splitlines()
        if any(words in line for words in _FAILED)
    }

    assert logged == set()
