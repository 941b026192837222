"""The payment service on a real PostgreSQL, in front of Stripe's double in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest
import pytest_asyncio

from tests.support.payment_harness import PaymentHarness, payment_harness


@pytest.fixture
async def harness(databases: Mapping[str, str]) -> AsyncIterator[PaymentHarness]:
    """A service of this test's own."""
    async with payment_harness(databases["payment"]) as harness:
        yield harness


@pytest_asyncio.fixture(scope="module")
async def shared_harness(databases: Mapping[str, str]) -> AsyncIterator[PaymentHarness]:
    """One for all tests of a module, which begins anew with each of its cases."""
    async with payment_harness(databases["payment"]) as harness:
        yield harness
