"""Accounts, products and stock over HTTP, on the real services."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio

from domain.ids import new_id
from runtime.caller import CallerRole
from tests.support.gateway import PASSWORD, Gateway, gateway_with_services
from tests.support.identities import VERIFIER, bearer

ADMIN = bearer(CallerRole.ADMIN)


@pytest_asyncio.fixture(scope="module")
async def gateway(databases: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    async with gateway_with_services(databases, stripe_data=tmp_path_factory.mktemp("stripe")) as gateway:
        yield gateway


async def add_product(gateway: Gateway, **changes: Any) -> dict[str, Any]:
    body = {"name": "Mug", "unit_price": 1_250, "currency": "EUR", **changes}
    response = await gateway.http.post("/v1/products", json=body, headers=ADMIN)
    assert response.status_code == 201, response.text
    product: dict[str, Any] = response.json()
    return product


async def test_a_customer_signs_up_gets_a_token_and_reads_their_account(gateway: Gateway) -> None:
    email = f"customer-{new_id()}@example.test"
    account = {"email": email, "password": PASSWORD, "name": "Customer"}

    signed_up = await gateway.http.post("/v1/users", json=account)
    token = await gateway.http.post("/v1/auth/token", json={"email": email, "password": PASSWORD})
    me = await gateway.http.get("/v1/users/me", headers={"Authorization": f"bearer {token.json()['access_token']}"})

    assert (signed_up.status_code, signed_up.headers["location"]) == (201, "/v1/users/me")
    user = signed_up.json()
    assert user == {
        "id": user["id"],
        "email": email,
        "name": "Customer",
        "role": "customer",
        "created_at": user["created_at"],
        "email_confirmed": False,
        "disabled": False,
    }
    assert (token.status_code, token.json()["token_type"], token.json()["user"]) == (200, "Bearer", user)
    assert token.headers["cache-control"] == "no-store"
    assert datetime.fromisoformat(token.json()["expires_at"]) > datetime.now(UTC)
    assert VERIFIER.verify(token.json()["access_token"]).id == user["id"]
    assert (me.status_code, me.json()) == (200, user)


async def test_one_email_has_one_account(gateway: Gateway) -> None:
    account = {"email": f"customer-{new_id()}@example.test", "password": PASSWORD, "name": "Customer"}
    await gateway.http.post("/v1/users", json=account)

    again = await gateway.http.post("/v1/users", json={**account, "email": account["email"].upper()})

    assert (again.status_code, again.json()["type"]) == (409, "urn:ordersaga:problem:email-taken")


async def test_a_wrong_password_and_an_unknown_email_answer_alike(gateway: Gateway) -> None:
    email = f"customer-{new_id()}@example.test"
    await gateway.http.post("/v1/users", json={"email": email, "password": PASSWORD, "name": "Customer"})

    wrong = await gateway.http.post("/v1/auth/token", json={"email": email, "password": "wrong horse"})
    unknown = await gateway.http.post("/v1/auth/token", json={"email": f"x{email}", "password": PASSWORD})

    assert (wrong.status_code, wrong.json()["type"]) == (401, "urn:ordersaga:problem:bad-credentials")
    assert (unknown.status_code, unknown.json()) == (401, wrong.json())
    assert wrong.headers["www-authenticate"] == "Bearer"


async def test_what_only_the_user_service_finds_is_named_too(gateway: Gateway) -> None:
    account = {"email": "customer@example.test", "password": "password", "name": "shop.example"}

    response = await gateway.http.post("/v1/users", json=account)

    assert response.status_code == 400
    assert {violation["field"] for violation in response.json()["errors"]} == {"password", "name"}


async def test_an_admin_adds_a_product_that_everybody_can_read(gateway: Gateway) -> None:
    response = await gateway.http.post(
        "/v1/products",
        json={"name": "Mug", "description": "Holds tea.", "unit_price": 1_250, "currency": "EUR"},
        headers=ADMIN,
    )

    product = response.json()
    assert response.status_code == 201
    assert response.headers["location"] == f"/v1/products/{product['id']}"
    assert product == {
        "id": product["id"],
        "name": "Mug",
        "description": "Holds tea.",
        "unit_price": 1_250,
        "currency": "EUR",
        "active": True,
        "created_at": product["created_at"],
        "updated_at": product["created_at"],
    }
    assert datetime.fromisoformat(product["created_at"]).tzinfo == UTC
    assert (await gateway.http.get(response.headers["location"])).json() == product


async def test_products_come_in_pages(gateway: Gateway) -> None:
    added = [(await add_product(gateway))["id"] for _ in range(3)]

    listed: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = (await gateway.http.get("/v1/products", params={"limit": 2, "cursor": cursor})).json()
        assert len(page["items"]) <= 2
        listed += [product["id"] for product in page["items"]]
        cursor = page["next_cursor"]

    assert [product_id for product_id in listed if product_id in added] == added


async def test_a_cursor_of_ones_own_making_is_named(gateway: Gateway) -> None:
    response = await gateway.http.get("/v1/products", params={"cursor": "third page"})

    assert response.status_code == 400
    assert [violation["field"] for violation in response.json()["errors"]] == ["cursor"]


async def test_an_unknown_product_is_not_found(gateway: Gateway) -> None:
    response = await gateway.http.get(f"/v1/products/{new_id()}")

    assert (response.status_code, response.json()["type"]) == (404, "urn:ordersaga:problem:not-found")


async def test_a_product_is_made_once_per_key(gateway: Gateway) -> None:
    keyed, mug = {**ADMIN, "Idempotency-Key": new_id()}, {"name": "Mug", "unit_price": 1_250, "currency": "EUR"}

    first = await gateway.http.post("/v1/products", json=mug, headers=keyed)
    repeat = await gateway.http.post("/v1/products", json=mug, headers=keyed)
    another = await gateway.http.post("/v1/products", json={**mug, "unit_price": 1}, headers=keyed)

    assert (first.status_code, repeat.status_code, repeat.json()) == (201, 201, first.json())
    assert (another.status_code, another.json()["type"]) == (422, "urn:ordersaga:problem:idempotency-key-reused")


async def test_an_adjustment_changes_stock_once_per_key(gateway: Gateway) -> None:
    product_id = (await add_product(gateway))["id"]
    stock_path = f"/v1/inventory/{product_id}"
    adjustment, keyed = {"delta": 5, "note": "delivery"}, {**ADMIN, "Idempotency-Key": "delivery 17"}

    first = await gateway.http.post(f"{stock_path}/adjustments", json=adjustment, headers=keyed)
    repeat = await gateway.http.post(f"{stock_path}/adjustments", json=adjustment, headers=keyed)
    another = await gateway.http.post(f"{stock_path}/adjustments", json={"delta": -2}, headers=ADMIN)
    stock = await gateway.http.get(stock_path, headers=ADMIN)

    assert (first.status_code, first.json()) == (
        201,
        {"product_id": product_id, "on_hand": 5, "reserved": 0, "available": 5},
    )
    assert (repeat.status_code, repeat.json()["on_hand"]) == (201, 5)
    assert (another.status_code, another.json()["on_hand"]) == (201, 3)
    assert (stock.status_code, stock.json()) == (200, another.json())


async def test_stock_cannot_be_taken_that_is_not_there(gateway: Gateway) -> None:
    path = f"/v1/inventory/{(await add_product(gateway))['id']}/adjustments"

    response = await gateway.http.post(path, json={"delta": -1}, headers=ADMIN)

    assert (response.status_code, response.json()["type"]) == (409, "urn:ordersaga:problem:out-of-stock")


async def test_a_key_stands_for_one_adjustment(gateway: Gateway) -> None:
    paths = [f"/v1/inventory/{(await add_product(gateway))['id']}/adjustments" for _ in range(2)]
    keyed = {**ADMIN, "Idempotency-Key": new_id()}
    await gateway.http.post(paths[0], json={"delta": 5}, headers=keyed)

    more = await gateway.http.post(paths[0], json={"delta": 6}, headers=keyed)
    elsewhere = await gateway.http.post(paths[1], json={"delta": 5}, headers=keyed)

    for response in (more, elsewhere):
        assert (response.status_code, response.json()["type"]) == (
            422,
            "urn:ordersaga:problem:idempotency-key-reused",
        )


@pytest.mark.parametrize("key", ["", "x" * 256, "\x7f"])
async def test_what_is_no_key_is_refused(gateway: Gateway, key: str) -> None:
    path = f"/v1/inventory/{(await add_product(gateway))['id']}/adjustments"

    response = await gateway.http.post(path, json={"delta": 5}, headers={**ADMIN, "Idempotency-Key": key})

    assert (response.status_code, [fault["field"] for fault in response.json()["errors"]]) == (400, ["Idempotency-Key"])


async def test_only_products_that_exist_get_stock(gateway: Gateway) -> None:
    product_id = new_id()

    response = await gateway.http.post(f"/v1/inventory/{product_id}/adjustments", json={"delta": 1}, headers=ADMIN)

    assert response.status_code == 404
    stock = (await gateway.http.get(f"/v1/inventory/{product_id}", headers=ADMIN)).json()
    assert stock["on_hand"] == 0
