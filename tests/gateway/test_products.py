"""Changing and deleting products over HTTP: PATCH, DELETE, ETag and If-Match."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest
import pytest_asyncio

from domain.ids import new_id
from runtime.caller import CallerRole
from tests.support.gateway import Gateway, gateway_with_services
from tests.support.identities import bearer, forged_bearer

ADMIN = bearer(CallerRole.ADMIN)
PROBLEM = "urn:ordersaga:problem"


@pytest_asyncio.fixture(scope="module")
async def gateway(databases: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    async with gateway_with_services(databases, stripe_data=tmp_path_factory.mktemp("stripe")) as gateway:
        yield gateway


async def add(gateway: Gateway) -> httpx.Response:
    body = {"name": "Mug", "description": "Blue", "unit_price": 1_250, "currency": "EUR"}
    response = await gateway.http.post("/v1/products", json=body, headers=ADMIN)
    assert response.status_code == 201, response.text
    return response


async def test_an_admin_changes_a_product_and_everybody_sees_it(gateway: Gateway) -> None:
    added = await add(gateway)
    path = added.headers["location"]

    patched = await gateway.http.patch(path, json={"name": "Cup", "active": False}, headers=ADMIN)
    read = await gateway.http.get(path)

    assert (patched.status_code, patched.json()) == (200, read.json())
    assert patched.json() == {
        **added.json(),
        "name": "Cup",
        "active": False,
        "updated_at": patched.json()["updated_at"],
    }
    assert [answer.headers["etag"] for answer in (added, patched, read)] == ['"1"', '"2"', '"2"']


async def test_a_change_of_what_somebody_else_changed_meanwhile_is_refused(gateway: Gateway) -> None:
    added = await add(gateway)
    path, etag = added.headers["location"], added.headers["etag"]
    first = await gateway.http.patch(path, json={"unit_price": 1}, headers={**ADMIN, "If-Match": etag})

    second = await gateway.http.patch(path, json={"unit_price": 2}, headers={**ADMIN, "If-Match": etag})
    deletion = await gateway.http.delete(path, headers={**ADMIN, "If-Match": f"W/{first.headers['etag']}"})

    for stale in (second, deletion):
        assert (stale.status_code, stale.json()["type"]) == (412, f"{PROBLEM}:stale-version")
        assert stale.headers["content-type"] == "application/problem+json"
    assert (await gateway.http.get(path)).json()["unit_price"] == 1
    known = {**ADMIN, "If-Match": f"{etag}, {first.headers['etag']}"}
    assert (await gateway.http.patch(path, json={"unit_price": 2}, headers=known)).status_code == 200


async def test_any_version_will_do_without_if_match_or_with_a_star(gateway: Gateway) -> None:
    path = (await add(gateway)).headers["location"]

    plain = await gateway.http.patch(path, json={"name": "Cup"}, headers=ADMIN)
    starred = await gateway.http.patch(path, json={"name": "Bowl"}, headers={**ADMIN, "If-Match": "*"})

    assert [plain.status_code, starred.status_code] == [200, 200]


async def test_a_deleted_product_is_gone(gateway: Gateway) -> None:
    added = await add(gateway)
    path = added.headers["location"]

    deleted = await gateway.http.delete(path, headers={**ADMIN, "If-Match": added.headers["etag"]})

    assert (deleted.status_code, deleted.content) == (204, b"")
    again = [
        await gateway.http.get(path),
        await gateway.http.get(path, headers=ADMIN),
        await gateway.http.patch(path, json={"name": "Cup"}, headers=ADMIN),
        await gateway.http.delete(path, headers={**ADMIN, "If-Match": '"1"'}),
    ]
    for answer in again:
        assert (answer.status_code, answer.json()["type"]) == (404, f"{PROBLEM}:not-found")


async def test_what_is_left_of_a_deleted_products_stock_can_be_written_off(gateway: Gateway) -> None:
    added = await add(gateway)
    adjustments = f"/v1/inventory/{added.json()['id']}/adjustments"
    await gateway.http.post(adjustments, json={"delta": 5}, headers=ADMIN)
    await gateway.http.delete(added.headers["location"], headers=ADMIN)

    written_off = await gateway.http.post(adjustments, json={"delta": -5}, headers=ADMIN)

    assert (written_off.status_code, written_off.json()["on_hand"]) == (201, 0)


async def test_the_currency_of_a_product_never_changes(gateway: Gateway) -> None:
    added = await add(gateway)

    response = await gateway.http.patch(added.headers["location"], json={"currency": "USD"}, headers=ADMIN)

    assert response.status_code == 400
    assert [violation["field"] for violation in response.json()["errors"]] == ["currency"]


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"name": "", "description": 1, "unit_price": -1, "active": "yes"}, "name description unit_price active"),
        ({"name": None, "description": None, "unit_price": None, "active": None}, "name description unit_price active"),
        ({"name": "   "}, "name"),
        ({"unit_price": 12.5}, "unit_price"),
        ({"stock": 5, "id": new_id()}, "stock id"),
        ([], "body"),
    ],
)
async def test_a_change_that_does_not_fit_is_refused_by_name_and_changes_nothing(
    gateway: Gateway, body: Any, fields: str
) -> None:
    added = await add(gateway)
    path = added.headers["location"]

    response = await gateway.http.patch(path, json=body, headers=ADMIN)

    assert (response.status_code, response.json()["type"]) == (400, f"{PROBLEM}:validation")
    assert {violation["field"] for violation in response.json()["errors"]} == set(fields.split())
    assert (await gateway.http.get(path)).json() == added.json()


async def test_a_faulty_id_and_a_faulty_if_match_are_named_together(gateway: Gateway) -> None:
    headers = {**ADMIN, "If-Match": "3"}

    answers = [
        await gateway.http.patch("/v1/products/mug", json={"name": "Cup"}, headers=headers),
        await gateway.http.delete("/v1/products/mug", headers=headers),
    ]

    for answer in answers:
        assert answer.status_code == 400
        assert {violation["field"] for violation in answer.json()["errors"]} == {"product_id", "If-Match"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 401), (forged_bearer(), 401), (bearer(CallerRole.CUSTOMER), 403)],
    ids=["nobody", "forger", "customer"],
)
async def test_only_admins_change_and_delete(gateway: Gateway, headers: dict[str, str], status: int) -> None:
    added = await add(gateway)
    path = added.headers["location"]

    answers = [
        await gateway.http.patch(path, json={"name": "Cup"}, headers=headers),
        await gateway.http.delete(path, headers=headers),
    ]

    assert [answer.status_code for answer in answers] == [status, status]
    assert (await gateway.http.get(path)).json() == added.json()
