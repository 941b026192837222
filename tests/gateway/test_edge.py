"""How the gateway meets browsers: security headers, caching, other origins, HEAD and OPTIONS of every route."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio

from api.cors import SHOWN
from api.edge import Edge
from api.routes import HANDLERS
from api.security import security_headers
from api.server import run
from domain.ids import new_id
from runtime.caller import CallerRole
from runtime.process import Lifecycle
from runtime.settings import Settings, SettingsError
from sandbox.ports import free_port
from tests.support.gateway import NOWHERE, Gateway, gateway_with_services, open_gateway
from tests.support.identities import bearer, tls_settings
from tests.support.raw_http import connected
from tests.support.recorded_sagas import RecordedSagas

ADMIN: Final = bearer(CallerRole.ADMIN)
SHOP: Final = "https://shop.example"
SOME_ID: Final = "01932b5e-7c1a-7e4e-9c3d-2f6d1b8a4c55"


@pytest_asyncio.fixture(scope="module")
async def gateway(databases: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    async with gateway_with_services(databases, stripe_data=tmp_path_factory.mktemp("stripe")) as gateway:
        yield gateway


@asynccontextmanager
async def with_edge(gateway: Gateway, **edge: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with open_gateway(gateway.addresses, RecordedSagas(), Edge(**edge)) as other:
        yield other.http


async def add_product(gateway: Gateway) -> httpx.Response:
    body = {"name": "Mug", "unit_price": 1_250, "currency": "EUR"}
    return await gateway.http.post("/v1/products", json=body, headers=ADMIN)


def routes() -> dict[str, set[str]]:
    """Each path with what can be done there."""
    found: dict[str, set[str]] = {}
    for handler in HANDLERS:
        for path in handler.paths:
            found.setdefault(re.sub(r"\{\w+:str\}", SOME_ID, path), set()).update(handler.http_methods)
    return found


# -- Security headers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/products", 200),
        ("GET", "/v1/orders", 401),
        ("GET", "/nowhere", 404),
        ("PUT", "/v1/orders", 405),
        ("POST", "/v1/users", 400),
        ("OPTIONS", "/v1/orders", 204),
        ("HEAD", "/v1/products", 200),
        ("GET", "/docs", 200),
        ("GET", "/docs/openapi.json", 200),
        ("GET", "/docs/nothing", 404),
    ],
)
async def test_g11_every_answer_has_the_security_headers(gateway: Gateway, method: str, path: str, status: int) -> None:
    answer = await gateway.http.request(method, path, json={} if method == "POST" else None)

    assert answer.status_code == status
    assert set(security_headers(hsts_max_age=0)) <= set(answer.headers)
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["frame-ancestors"] == policy["default-src"] == "'none'"
    assert "unsafe" not in policy.get("script-src", "")
    assert "strict-transport-security" not in answer.headers


async def test_g11_also_what_the_server_answers_by_itself(gateway: Gateway) -> None:
    services = ("user", "product", "inventory", "order", "payment", "notification")
    nowhere = {f"{name}_address": NOWHERE for name in services}
    port = free_port()
    lifecycle = Lifecycle(asyncio.Event())
    settings = Settings.model_validate(
        {"gateway_port": port, "grpc_deadline": 1, "hsts_max_age": 60, **tls_settings(), **nowhere}
    )
    running = asyncio.create_task(run(settings, lifecycle))
    await lifecycle.started.wait()
    async with connected(port, b"NONSENSE\r\n\r\n") as client:
        answer = await client.answer()
    lifecycle.stopping.set()
    await running

    assert (answer.status, answer.problem) == (400, "bad-request")
    assert set(security_headers(hsts_max_age=60)) <= set(answer.headers)
    assert answer.headers["strict-transport-security"] == "max-age=60"


async def test_tls_is_demanded_where_the_setting_says_so(gateway: Gateway) -> None:
    async with with_edge(gateway, hsts_max_age=31_536_000) as http:
        answer = await http.get("/v1/products")

    assert answer.headers["strict-transport-security"] == "max-age=31536000"


async def test_g11_no_personal_answer_is_stored(gateway: Gateway) -> None:
    account = {"email": f"customer-{new_id()}@example.test", "password": "correct horse", "name": "Customer"}
    opened = await gateway.http.post("/v1/users", json=account)
    tokens = await gateway.http.post("/v1/auth/token", json={key: account[key] for key in ("email", "password")})
    mine = {"Authorization": f"Bearer {tokens.json()['access_token']}"}

    answers = [opened, tokens, *[await gateway.http.get(path, headers=mine) for path in ("/v1/users/me", "/v1/orders")]]

    for answer in answers:
        assert answer.is_success
        assert "no-store" in answer.headers["cache-control"]


# -- Products are for everybody ---------------------------------------------------------------------------------------


async def test_g14_a_product_is_cached_and_not_transformed_and_read_again_only_when_it_changed(
    gateway: Gateway,
) -> None:
    added = await add_product(gateway)
    path = added.headers["location"]
    read = await gateway.http.get(path)

    assert set(read.headers["cache-control"].split(", ")) == {"public", "max-age=10", "no-transform"}
    assert "no-transform" in added.headers["cache-control"]
    for known in (read.headers["etag"], f"W/{read.headers['etag']}", f'"7", {read.headers["etag"]}', "*"):
        again = await gateway.http.get(path, headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == read.headers["etag"]
        assert "content-type" not in again.headers
    for unknown in ('"7"', "7", '"'):
        assert (await gateway.http.get(path, headers={"If-None-Match": unknown})).status_code == 200

    await gateway.http.patch(path, json={"name": "Cup"}, headers={**ADMIN, "If-Match": read.headers["etag"]})

    changed = await gateway.http.get(path, headers={"If-None-Match": read.headers["etag"]})
    assert (changed.status_code, changed.json()["name"]) == (200, "Cup")


async def test_g14_a_page_of_products_is_read_again_only_when_it_changed(gateway: Gateway) -> None:
    await add_product(gateway)
    read = await gateway.http.get("/v1/products", params={"limit": 100})
    known = {"If-None-Match": read.headers["etag"]}

    again = await gateway.http.get("/v1/products", params={"limit": 100}, headers=known)
    await gateway.http.patch(f"/v1/products/{read.json()['items'][0]['id']}", json={"name": new_id()}, headers=ADMIN)
    changed = await gateway.http.get("/v1/products", params={"limit": 100}, headers=known)

    assert [read.status_code, again.status_code, changed.status_code] == [200, 304, 200]
    assert changed.headers["etag"] != read.headers["etag"]


async def test_what_was_not_found_is_not_unchanged(gateway: Gateway) -> None:
    answer = await gateway.http.get(f"/v1/products/{new_id()}", headers={"If-None-Match": "*"})

    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:ordersaga:problem:not-found"


# -- Other origins ----------------------------------------------------------------------------------------------------


async def test_g9_pages_of_a_named_origin_may_call_and_read_what_they_need(gateway: Gateway) -> None:
    async with with_edge(gateway, origins=[SHOP]) as http:
        asked = await http.options(
            "/v1/orders",
            headers={
                "Origin": SHOP,
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "authorization,content-type,idempotency-key",
            },
        )
        answers = [await http.get(path, headers={"Origin": SHOP}) for path in ("/v1/products", "/v1/orders", "/no")]

    assert asked.status_code == 204
    assert asked.headers["access-control-allow-origin"] == SHOP
    methods = set(asked.headers["access-control-allow-methods"].split(", "))
    assert methods == {"HEAD", "OPTIONS"}.union(*routes().values())
    allowed = asked.headers["access-control-allow-headers"].lower().split(", ")
    assert {"authorization", "content-type", "idempotency-key"} <= set(allowed)
    assert [answer.status_code for answer in answers] == [200, 401, 404]
    for answer in (asked, *answers):
        assert answer.headers["access-control-allow-origin"] == SHOP
        assert "access-control-allow-credentials" not in answer.headers
        assert "Origin" in answer.headers["vary"]
    assert set(answers[0].headers["access-control-expose-headers"].split(", ")) == set(SHOWN)


@pytest.mark.parametrize(
    "origin",
    ["https://other.example", f"{SHOP}.evil.example", "https://evil-shop.example", "http://shop.example", "null", ""],
)
async def test_g9_pages_of_no_other_origin_may(gateway: Gateway, origin: str) -> None:
    async with with_edge(gateway, origins=[SHOP]) as http:
        asked = await http.options("/v1/orders", headers={"Origin": origin, "Access-Control-Request-Method": "POST"})
        read = await http.get("/v1/products", headers={"Origin": origin})

    assert (asked.status_code, read.status_code) == (204, 200)
    for answer in (asked, read):
        assert [name for name in answer.headers if name.startswith("access-control-")] == []
        assert answer.headers["vary"] == "Origin"


async def test_without_the_setting_no_page_of_another_origin_may(gateway: Gateway) -> None:
    answer = await gateway.http.get("/v1/products", headers={"Origin": SHOP})

    assert [name for name in answer.headers if name.startswith("access-control-") or name == "vary"] == []


@pytest.mark.parametrize("origin", ["*", "shop.example", "https://shop.example/", "https://*.example", "null"])
def test_an_origin_that_is_none_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch, origin: str) -> None:
    monkeypatch.setenv("ORDERSAGA_CORS_ORIGINS", f'["{origin}"]')

    with pytest.raises(SettingsError, match="ORDERSAGA_CORS_ORIGINS_0"):
        Settings.load()


# -- Methods ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*routes(), "/docs", "/docs/openapi.json"])
async def test_g12_every_route_names_all_its_methods(gateway: Gateway, path: str) -> None:
    methods = routes().get(path, {"GET"})
    expected = {*methods, "OPTIONS", *({"HEAD"} if "GET" in methods else ())}

    options = await gateway.http.options(path)
    refused = await gateway.http.request("TRACE", path)

    assert (options.status_code, refused.status_code) == (204, 405)
    assert set(options.headers["allow"].split(", ")) == expected
    assert set(refused.headers["allow"].split(", ")) == expected


@pytest.mark.parametrize("path", [*(path for path, methods in routes().items() if "GET" in methods), "/docs"])
async def test_g12_head_answers_as_get_does_without_its_body(gateway: Gateway, path: str) -> None:
    got = await gateway.http.get(path, headers=ADMIN)
    head = await gateway.http.head(path, headers=ADMIN)

    assert (head.status_code, head.content) == (got.status_code, b"")
    differing = {"x-request-id"}
    assert {name: value for name, value in head.headers.items() if name not in differing} == {
        name: value for name, value in got.headers.items() if name not in differing
    }
