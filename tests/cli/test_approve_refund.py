"""`ordersaga approve-refund` and `ordersaga refund` above the limit, as an operator calls them."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping

import pytest
import pytest_asyncio

from runtime.caller import Caller, CallerRole
from runtime.settings import Settings
from sandbox.certificates import OPERATOR
from sandbox.environment import process_environment
from sandbox.processes import ROOT
from tests.support.gateway import NOWHERE, Gateway, gateway_with_services
from tests.support.gateway_orders import Bought, buy, pay, refund
from tests.support.identities import bearer, tls_settings

ACTOR = Caller(CallerRole.OPERATOR, OPERATOR).actor


@pytest_asyncio.fixture(scope="module")
async def gateway(databases: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    folder = tmp_path_factory.mktemp("stripe")
    async with gateway_with_services(databases, stripe_data=folder, refund_approval_limit=500) as gateway:
        yield gateway


@pytest_asyncio.fixture
async def paid(gateway: Gateway) -> Bought:
    """It has paid 25.00 EUR, of which one person may give back 5.00."""
    return await pay(gateway, await buy(gateway))


async def ordersaga(gateway: Gateway, *arguments: str) -> tuple[int | None, str]:
    """Run a command beside the services; its exit code and what it said."""
    nowhere = {f"{part}_address": NOWHERE for part in ("user", "product", "inventory", "notification")}
    settings = Settings.model_validate({**tls_settings(), **nowhere, **gateway.addresses})
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli.main", *arguments),
        cwd=ROOT,
        env=process_environment(settings, "operator"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode, said.decode()


async def test_an_operator_approves_what_an_admin_asks_for(gateway: Gateway, paid: Bought) -> None:
    code, said = await ordersaga(gateway, "approve-refund", paid.order_id, "12.50", "--note", "she is right")
    code_again, said_again = await ordersaga(gateway, "approve-refund", paid.order_id, "12.5", "--json")
    made = await refund(gateway, paid.order_id, bearer(CallerRole.ADMIN), amount=1_250)
    code_used, said_used = await ordersaga(gateway, "approve-refund", paid.order_id, "12.50")
    code_new, _ = await ordersaga(gateway, "approve-refund", paid.order_id, "12.50", "--key", "another")

    [again] = json.loads(said_again)
    assert (code, code_again, made.status_code, code_used, code_new) == (0, 0, 202, 1, 0)
    assert said.startswith(f"done     {paid.order_id}  approval ")
    assert "somebody else may refund 12.50 EUR until " in said
    assert (again["state"], again["text"].removesuffix(" (--key gives another one)") in said) == ("done", True)
    assert f"refund {made.json()['id']} has used it (--key gives another one)" in said_used


async def test_an_operator_who_approves_does_not_refund_and_another_persons_approval_lets_them(
    gateway: Gateway, paid: Bought
) -> None:
    await ordersaga(gateway, "approve-refund", paid.order_id, "25")
    code, said = await ordersaga(gateway, "refund", paid.order_id)
    approved = await gateway.http.post(
        f"/v1/orders/{paid.order_id}/refund-approvals", json={"amount": 2_500}, headers=bearer(CallerRole.ADMIN)
    )
    _, said_then = await ordersaga(gateway, "refund", paid.order_id)

    assert (code, approved.status_code) == (1, 201)
    assert "25.00 EUR of order" in said
    assert f"{ACTOR} has approved it, and cannot be both" in said
    assert "of 25.00 EUR: REQUESTED" in said_then


async def test_what_cannot_be_approved_is_refused_in_words(gateway: Gateway, paid: Bought) -> None:
    small = await ordersaga(gateway, "approve-refund", paid.order_id, "5.00")
    large = await ordersaga(gateway, "approve-refund", paid.order_id, "25.01")
    broken = await ordersaga(gateway, "approve-refund", paid.order_id, "12.505")

    assert (small[0], "one person alone may give so much back" in small[1]) == (1, True)
    assert (large[0], "25.00 EUR is left" in large[1]) == (1, True)
    assert (broken[0], "'12.505' is no amount of EUR" in broken[1]) == (2, True)
