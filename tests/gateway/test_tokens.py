"""Logging in, staying logged in and logging out over HTTP, on the real user service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import pytest_asyncio

from domain.ids import new_id
from tests.support.gateway import PASSWORD, Gateway, gateway_with_services


@pytest_asyncio.fixture(scope="module")
async def gateway(databases: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    async with gateway_with_services(databases, stripe_data=tmp_path_factory.mktemp("stripe")) as gateway:
        yield gateway


async def log_in(gateway: Gateway) -> dict[str, Any]:
    account = {"email": f"customer-{new_id()}@example.test", "password": PASSWORD}
    await gateway.http.post("/v1/users", json={**account, "name": "Customer"})
    response = await gateway.http.post("/v1/auth/token", json=account)
    assert response.status_code == 200, response.text
    tokens: dict[str, Any] = response.json()
    return tokens


async def refresh(gateway: Gateway, token: str) -> httpx.Response:
    return await gateway.http.post("/v1/auth/refresh", json={"refresh_token": token})


async def log_out(gateway: Gateway, token: str) -> httpx.Response:
    return await gateway.http.post("/v1/auth/logout", json={"refresh_token": token})


async def test_a_customer_stays_logged_in_without_their_password(gateway: Gateway) -> None:
    first = await log_in(gateway)

    response = await refresh(gateway, first["refresh_token"])

    second = response.json()
    assert (response.status_code, second.keys(), second["user"]) == (200, first.keys(), first["user"])
    assert response.headers["cache-control"] == "no-store"
    assert datetime.fromisoformat(second["refresh_expires_at"]) > datetime.fromisoformat(second["expires_at"])
    assert datetime.fromisoformat(second["expires_at"]) > datetime.now(UTC)
    me = await gateway.http.get("/v1/users/me", headers={"Authorization": f"Bearer {second['access_token']}"})
    assert me.json() == first["user"]


async def test_a_used_token_is_recognised_and_logs_everybody_out_who_has_one_of_its_family(gateway: Gateway) -> None:
    first = (await log_in(gateway))["refresh_token"]
    second = (await refresh(gateway, first)).json()["refresh_token"]

    reused = await refresh(gateway, first)
    revoked = await refresh(gateway, second)

    assert (reused.status_code, reused.json()["type"]) == (401, "urn:ordersaga:problem:refresh-token-reused")
    assert (revoked.status_code, revoked.json()["type"]) == (401, "urn:ordersaga:problem:invalid-refresh-token")
    assert reused.headers["www-authenticate"] == "Bearer"
    assert first not in reused.text


async def test_logging_out_is_idempotent_and_ends_the_login(gateway: Gateway) -> None:
    token = (await log_in(gateway))["refresh_token"]

    answers = [await log_out(gateway, token) for _ in range(2)]

    assert [(answer.status_code, answer.content) for answer in answers] == [(204, b"")] * 2
    assert (await refresh(gateway, token)).json()["type"] == "urn:ordersaga:problem:invalid-refresh-token"


@pytest.mark.parametrize("path", ["/v1/auth/refresh", "/v1/auth/logout"])
@pytest.mark.parametrize(
    "body",
    [{}, {"refresh_token": None}, {"refresh_token": 7}, {"refresh_token": ""}, {"refresh_token": "x" * 256}],
    ids=["missing", "null", "number", "empty", "too long"],
)
async def test_a_body_without_a_token_is_refused_by_name(gateway: Gateway, path: str, body: dict[str, Any]) -> None:
    response = await gateway.http.post(path, json=body)

    assert (response.status_code, response.json()["type"]) == (400, "urn:ordersaga:problem:validation")
    assert [violation["field"] for violation in response.json()["errors"]] == ["refresh_token"]
