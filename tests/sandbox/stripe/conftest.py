"""A Stripe account with the official SDK in front of it: in this process, or served over HTTP with its switches."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import stripe

from sandbox.stripe.account import StripeAccount
from sandbox.stripe.clock import Clock
from sandbox.stripe.in_process import InProcessClient
from sandbox.stripe.server import StripeDouble
from tests.support.stripe_double import START, Merchant, StartMerchant, in_process_sdk, merchant_starter, open_account
from tests.support.webhook_endpoint import Endpoint, served_endpoint


@pytest.fixture
def account() -> Iterator[StripeAccount]:
    """An account in this process."""
    with open_account() as opened:
        yield opened


@pytest.fixture
def direct(account: StripeAccount) -> stripe.StripeClient:
    """The official SDK in front of `account`, without a socket."""
    return in_process_sdk(InProcessClient(account))


@pytest.fixture(scope="session")
async def served() -> AsyncIterator[Merchant]:
    """A merchant whose account is served for all tests, since a server and its clients take a quarter of a second."""
    with open_account() as opened:
        async with StripeDouble(opened) as running, Merchant.of(running) as made:
            yield made


@pytest.fixture
def merchant(served: Merchant) -> Merchant:
    """A merchant with an empty account that is served; its clock stands where the test before left it."""
    served.account.clear()
    served.account.faults.clear()
    return served


@pytest.fixture
def double(merchant: Merchant) -> StripeDouble:
    return merchant.double


@pytest.fixture
def client(merchant: Merchant) -> stripe.StripeClient:
    return merchant.client


@pytest.fixture
def clock(merchant: Merchant) -> Clock:
    return merchant.account.clock


@pytest.fixture
def start(tmp_path: Path) -> StartMerchant:
    """Starts a double on the same folder and clock each time."""
    return merchant_starter(tmp_path, Clock(start=START))


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    """The endpoint that an account is configured with."""
    async with served_endpoint() as served:
        yield served
