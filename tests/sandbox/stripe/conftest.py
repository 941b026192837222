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
from tests.support.stripe_double import (
    START,
    Merchant,
    StartMerchant,
    in_process_sdk,
    merchant_starter,
    open_account,
    sdk,
)


@pytest.fixture
def clock() -> Clock:
    return Clock(start=START)


@pytest.fixture
def account(clock: Clock) -> Iterator[StripeAccount]:
    """An account in this process."""
    with open_account(clock=clock) as opened:
        yield opened


@pytest.fixture
def direct(account: StripeAccount) -> stripe.StripeClient:
    """The official SDK in front of `account`, without a socket."""
    return in_process_sdk(InProcessClient(account))


@pytest.fixture
async def double(clock: Clock) -> AsyncIterator[StripeDouble]:
    with open_account(clock=clock) as account:
        async with StripeDouble(account) as running:
            yield running


@pytest.fixture
async def client(double: StripeDouble) -> AsyncIterator[stripe.StripeClient]:
    async with sdk(double) as made:
        yield made


@pytest.fixture
def start(tmp_path: Path, clock: Clock) -> StartMerchant:
    """Starts a double on the same folder and clock each time."""
    return merchant_starter(tmp_path, clock)


@pytest.fixture
async def merchant(double: StripeDouble) -> AsyncIterator[Merchant]:
    async with Merchant.of(double) as made:
        yield made
