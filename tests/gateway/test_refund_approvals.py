"""Approvals of large refunds over HTTP, on the real order and payment services."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import pytest_asyncio

from domain.ids import new_id
from runtime.caller import CallerRole
from tests.support.gateway import Gateway, gateway_with_services
from tests.support.gateway_orders import Bought, buy, pay, problem, refund
from tests.support.identities import bearer


@pytest_asyncio.fixture(scope="module")
async def gateway(databases: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    folder = tmp_path_factory.mktemp("stripe")
    async with gateway_with_services(databases, stripe_data=folder, refund_approval_limit=500) as gateway:
        yield gateway


@pytest_asyncio.fixture
async def paid(gateway: Gateway) -> Bought:
    """It has paid 25.00 EUR, of which one person may give back 5.00."""
    return await pay(gateway, await buy(gateway))


async def approve(
    gateway: Gateway, order_id: str, headers: dict[str, str], *, key: str | None = None, **body: Any
) -> httpx.Response:
    key_header = {} if key is None else {"Idempotency-Key": key}
    path = f"/v1/orders/{order_id}/refund-approvals"
    return await gateway.http.post(path, json=body, headers={**headers, **key_header})


async def test_a_large_refund_is_made_once_another_admin_has_approved_it(gateway: Gateway, paid: Bought) -> None:
    ada, grace, key = bearer(CallerRole.ADMIN), bearer(CallerRole.ADMIN, grace_id := new_id()), new_id()
    refused = await refund(gateway, paid.order_id, ada, key=key, amount=1_000)

    approved = await approve(gateway, paid.order_id, grace, amount=1_000, note="it is broken")
    made = await refund(gateway, paid.order_id, ada, key=key, amount=1_000)
    again = await refund(gateway, paid.order_id, ada, key=key, amount=1_000)
    another = await refund(gateway, paid.order_id, ada, amount=1_000)

    assert problem(refused) == problem(another) == (403, "refund-needs-approval")
    assert "one alone may give back 5.00 EUR more" in refused.json()["detail"]
    assert (approved.status_code, approved.headers["Cache-Control"]) == (201, "no-store")
    body = approved.json()
    assert datetime.fromisoformat(body.pop("expires_at")) > datetime.now(UTC)
    assert body == {
        "id": body["id"],
        "order_id": paid.order_id,
        "amount": 1_000,
        "currency": "EUR",
        "approved_by": f"admin:{grace_id}",
        "refund_id": None,
    }
    assert (made.status_code, again.status_code, again.json()["id"]) == (202, 202, made.json()["id"])
    assert "approved_by" not in made.json()


async def test_the_approver_cannot_ask(gateway: Gateway, paid: Bought) -> None:
    ada = bearer(CallerRole.ADMIN, ada_id := new_id())
    await approve(gateway, paid.order_id, ada, amount=1_000)

    refused = await refund(gateway, paid.order_id, ada, amount=1_000)

    assert problem(refused) == (403, "refund-needs-approval")
    assert f"admin:{ada_id} has approved it, and cannot be both" in refused.json()["detail"]


async def test_a_key_stands_for_one_approval_and_says_which_refund_used_it(gateway: Gateway, paid: Bought) -> None:
    grace, key = bearer(CallerRole.ADMIN, new_id()), new_id()
    first = await approve(gateway, paid.order_id, grace, key=key, amount=1_000)
    made = await refund(gateway, paid.order_id, bearer(CallerRole.ADMIN), amount=1_000)

    again = await approve(gateway, paid.order_id, grace, key=key, amount=1_000)
    other = await approve(gateway, paid.order_id, grace, key=key, amount=1_001)

    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (201, "true")
    assert again.json() == {**first.json(), "refund_id": made.json()["id"]}
    assert problem(other) == (422, "idempotency-key-reused")


async def test_only_admins_approve(gateway: Gateway, paid: Bought) -> None:
    for headers, wanted in (
        (paid.headers, (403, "forbidden")),
        (bearer(CallerRole.SUPPORT), (403, "forbidden")),
        ({}, (401, "missing-token")),
    ):
        assert problem(await approve(gateway, paid.order_id, headers, amount=1_000)) == wanted
    admin = bearer(CallerRole.ADMIN)
    assert problem(await approve(gateway, new_id(), admin, amount=1_000)) == (404, "not-found")


async def test_an_approval_that_nobody_could_use_is_not_given(gateway: Gateway, paid: Bought) -> None:
    admin, unpaid = bearer(CallerRole.ADMIN), await buy(gateway)

    assert problem(await approve(gateway, unpaid.order_id, admin, amount=1_000)) == (409, "order-not-refundable")
    assert problem(await approve(gateway, paid.order_id, admin, amount=2_501)) == (409, "refund-exceeds-payment")
    assert problem(await approve(gateway, paid.order_id, admin, amount=500)) == (409, "refund-needs-no-approval")


@pytest.mark.parametrize(
    ("body", "field"), [({}, "amount"), ({"amount": 0}, "amount"), ({"amount": 600, "note": ""}, "note")]
)
async def test_a_bad_request_names_its_fault(gateway: Gateway, paid: Bought, body: dict[str, Any], field: str) -> None:
    refused = await approve(gateway, paid.order_id, bearer(CallerRole.ADMIN), **body)

    assert problem(refused) == (400, "validation")
    assert [fault["field"] for fault in refused.json()["errors"]] == [field]
