"""Rate limits over HTTP: shared by all gateways, kept over restarts, and no reason to turn an order away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_network
from typing import Any, Final, cast

import httpx
import pytest
import pytest_asyncio

from api.app import create_app
from api.auth import SECURITY
from api.edge import Edge
from api.limits.rules import limit_of_account, limit_of_address
from api.routes import HANDLERS
from api.services import Services
from domain.ids import new_id
from domain.rate_limits import Limit, Rate
from runtime.caller import CallerRole
from runtime.client_address import TrustedProxies
from runtime.settings import Settings
from services.user.bootstrap import bootstrap as bootstrap_user
from services.user.limits.server import limits_service
from services.user.server import grpc_service as serve_user
from tests.support.gateway import PASSWORD, Gateway, gateway_with_services, open_gateway, order_body
from tests.support.identities import PRIVATE_PEM, VERIFIER, bearer, tls_settings
from tests.support.recorded_sagas import RecordedSagas
from tests.support.rpc import serving

HOUR: Final = 3_600
PROXY: Final = TrustedProxies([ip_network("127.0.0.0/8")])
"""The tests' own requests come from such a one."""
HERE: Final = "203.0.113.7"
WRONG: Final = "a wrong password"


@pytest_asyncio.fixture(scope="module")
async def behind(databases: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """A gateway that limits nobody, and what is behind it."""
    async with gateway_with_services(databases, stripe_data=tmp_path_factory.mktemp("stripe")) as gateway:
        yield gateway


@asynccontextmanager
async def limited(addresses: Mapping[str, str], **rates: Rate) -> AsyncIterator[httpx.AsyncClient]:
    """One more gateway in front of the same services, with these limits and no others."""
    edge = Edge(
        proxies=PROXY,
        rates={Limit(name.replace("_", "-")): rate for name, rate in rates.items()},
        patience=30,  # on a busy machine nobody shall decide alone
    )
    async with open_gateway(addresses, RecordedSagas(), edge) as gateway:
        yield gateway.http


def new_address() -> dict[str, str]:
    """Somebody whom no other test knows."""
    number = new_id().replace("-", "")
    return {"X-Forwarded-For": "2001:db8:" + ":".join(number[start : start + 4] for start in range(8, 32, 4))}


def account() -> dict[str, str]:
    return {"email": f"customer-{new_id()}@example.test", "password": PASSWORD, "name": "Customer"}


async def open_account(behind: Gateway) -> dict[str, str]:
    made = account()
    assert (await behind.http.post("/v1/users", json=made)).status_code == 201
    return {"email": made["email"], "password": PASSWORD}


async def log_in(http: httpx.AsyncClient, who: Mapping[str, str], **headers: str) -> int:
    return (await http.post("/v1/auth/token", json=dict(who), headers=headers)).status_code


def is_refusal(answer: httpx.Response, limit: str) -> bool:
    assert answer.status_code == 429
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:ordersaga:problem:too-many-requests"
    assert int(answer.headers["retry-after"]) >= 1
    assert f'"{limit}";r=0;t={answer.headers["retry-after"]}' in answer.headers["ratelimit"]
    return True


async def test_g2_two_gateways_share_a_limit_and_a_third_knows_of_it(behind: Gateway) -> None:
    somebody, rate = new_address(), Rate(3, HOUR)
    async with limited(behind.addresses, sign_ups=rate) as first, limited(behind.addresses, sign_ups=rate) as second:
        answers = [
            await http.post("/v1/users", json=account(), headers=somebody) for http in (first, second, first, second)
        ]
        others = await second.post("/v1/users", json=account(), headers=new_address())
    async with limited(behind.addresses, sign_ups=rate) as started_later:
        later = await started_later.post("/v1/users", json=account(), headers=somebody)

    assert [answer.status_code for answer in answers] == [201, 201, 201, 429]
    assert is_refusal(answers[3], "sign-ups")
    assert is_refusal(later, "sign-ups")
    assert others.status_code == 201


async def test_a_restart_of_the_user_service_keeps_a_limit(databases: Mapping[str, str]) -> None:
    own = {"user_dsn": databases["user"], "jwt_private_key": PRIVATE_PEM}
    settings = Settings.model_validate({**tls_settings(), **own})
    somebody, statuses = new_address(), []
    for _ in range(2):
        async with bootstrap_user(settings) as user:
            serving_user = serving(serve_user(user), limits_service(user.limits))
            async with serving_user as address, limited({"user_address": address}, sign_ups=Rate(2, HOUR)) as http:
                for _ in range(2):
                    answer = await http.post("/v1/users", json=account(), headers=somebody)
                    statuses.append(answer.status_code)

    assert statuses == [201, 201, 429, 429]


async def test_without_the_user_service_orders_go_on_and_each_gateway_holds_to_the_limit(behind: Gateway) -> None:
    nobody = {name: at for name, at in behind.addresses.items() if name != "user_address"}
    customer = bearer(CallerRole.CUSTOMER)
    async with limited(nobody, orders=Rate(3, HOUR), reads=Rate(5, HOUR)) as http:
        placed = [
            await http.post("/v1/orders", json=order_body(), headers={**customer, "Idempotency-Key": new_id()})
            for _ in range(4)
        ]
        read = [(await http.get("/v1/products", headers=new_address())).status_code for _ in range(3)]

    assert [answer.status_code for answer in placed[:3]] == [202, 202, 202]
    assert is_refusal(placed[3], "orders")
    assert read == [200, 200, 200]


async def test_g1_as_many_logins_at_once_are_tried_as_the_limit_says(behind: Gateway) -> None:
    victim, somebody = await open_account(behind), new_address()
    async with limited(behind.addresses, logins=Rate(7, HOUR)) as http:
        guess = {**victim, "password": WRONG}
        statuses = await asyncio.gather(*(log_in(http, guess, **somebody) for _ in range(40)))

    assert sorted(statuses) == [401] * 7 + [429] * 33


async def test_g2_guesses_at_one_account_from_one_address_end(behind: Gateway) -> None:
    victim, somebody = await open_account(behind), new_address()
    guess = {"email": victim["email"].upper(), "password": WRONG}
    async with limited(behind.addresses, logins_here=Rate(3, HOUR)) as http:
        statuses = [await log_in(http, guess, **somebody) for _ in range(5)]

        assert statuses == [401, 401, 401, 429, 429]
        assert await log_in(http, victim, **somebody) == 429
        assert await log_in(http, victim, **new_address()) == 200
        assert await log_in(http, await open_account(behind), **somebody) == 200


async def test_guesses_from_many_addresses_end_and_lock_out_nobody_who_was_here_before(behind: Gateway) -> None:
    victim, home = await open_account(behind), new_address()
    async with limited(behind.addresses, logins_elsewhere=Rate(4, HOUR)) as http:
        assert await log_in(http, victim, **home) == 200

        guess = {**victim, "password": WRONG}
        statuses = [await log_in(http, guess, **new_address()) for _ in range(10)]

        assert statuses == [401] * 3 + [429] * 7
        assert [await log_in(http, victim, **home) for _ in range(6)] == [200] * 6
        assert await log_in(http, victim, **new_address()) == 429


async def test_a_session_keeps_the_network_of_the_address_that_limits_count(behind: Gateway) -> None:
    somebody = await open_account(behind)
    async with limited(behind.addresses) as http:
        begun = await http.post("/v1/auth/token", json=somebody, headers={"X-Forwarded-For": f"198.51.100.9, {HERE}"})
        mine = {"Authorization": f"Bearer {begun.json()['access_token']}"}
        tokens = {"refresh_token": begun.json()["refresh_token"]}
        before = await http.get("/v1/users/me/sessions", headers=mine)
        await http.post("/v1/auth/refresh", json=tokens, headers={"X-Forwarded-For": "2001:db8:1:2:3::4"})
        after = await http.get("/v1/users/me/sessions", headers=mine)

    assert [answer.json()["items"][0]["address"] for answer in (before, after)] == ["203.0.113.0/24", "2001:db8:1::/48"]


async def test_a_subscriber_has_one_share_whatever_they_write_and_whichever_address_they_take(behind: Gateway) -> None:
    async with limited(behind.addresses, sign_ups=Rate(2, HOUR)) as http:
        prefix = new_address()["X-Forwarded-For"].rsplit(":", 4)[0]
        ways = [f"{prefix}::1", f"{prefix}::2", f"198.51.100.9, {prefix}::3", f"[{prefix}::4]:5"]
        statuses = [
            (await http.post("/v1/users", json=account(), headers={"X-Forwarded-For": way})).status_code for way in ways
        ]

    assert statuses == [201, 201, 429, 429]


async def test_an_account_has_its_own_share_wherever_it_asks_from(behind: Gateway) -> None:
    first, second = bearer(CallerRole.CUSTOMER), bearer(CallerRole.CUSTOMER)
    async with limited(behind.addresses, cancels=Rate(2, HOUR)) as http:
        path = f"/v1/orders/{new_id()}/cancel"
        statuses = [
            (await http.post(path, json={}, headers={**who, **new_address(), "Idempotency-Key": new_id()})).status_code
            for who in (first, first, first, second)
        ]

    assert statuses == [404, 404, 429, 404]


async def test_forged_tokens_are_counted_before_they_are_looked_at(behind: Gateway) -> None:
    forger = {**new_address(), "Authorization": "Bearer forged"}
    async with limited(behind.addresses, requests=Rate(3, HOUR)) as http:
        answers = [await http.get("/v1/orders", headers=forger) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [401, 401, 401, 429]


async def test_every_answer_says_how_its_client_stands(behind: Gateway) -> None:
    customer = {**bearer(CallerRole.CUSTOMER), **new_address()}
    async with limited(behind.addresses, requests=Rate(100, 10 * HOUR), reads=Rate(50, 10 * HOUR)) as http:
        read = await http.get("/v1/orders", headers=customer)
        missing = await http.get(f"/v1/orders/{new_id()}", headers=customer)

    assert (read.status_code, missing.status_code) == (200, 404)
    assert read.headers["ratelimit-policy"] == '"requests";q=100;w=36000, "reads";q=50;w=36000'
    assert read.headers["ratelimit"] == '"requests";r=99;t=360, "reads";r=49;t=720'
    assert '"reads";r=48' in missing.headers["ratelimit"]


async def test_a_back_end_has_a_limit_of_its_own_for_all_of_its_customers(behind: Gateway) -> None:
    back_end = {**bearer(CallerRole.ADMIN, new_id()), **new_address(), "Prefer": "wait=0"}
    guest = new_address()
    customers = [(await behind.http.post("/v1/users", json=account())).json()["id"] for _ in range(2)]
    rates = {"orders": Rate(1, HOUR), "guest_orders": Rate(1, HOUR), "back_end_orders": Rate(4, HOUR)}

    async with limited(behind.addresses, **rates) as http:

        async def place(headers: Mapping[str, str], route: str = "orders", **body: Any) -> int:
            headers = {"Idempotency-Key": new_id(), "Prefer": "wait=0", **headers}
            return (await http.post(f"/v1/{route}", json=order_body(**body), headers=headers)).status_code

        def guests() -> str:
            return f"guest-{new_id()}@example.test"

        for_customers = [await place(back_end, customer=customer, adjustments=[]) for customer in customers]
        for_guests = [await place(back_end, "guest-orders", email=guests(), adjustments=[]) for _ in range(3)]
        own = [await place(guest, "guest-orders", email=guests()) for _ in range(2)]
        with_token = [
            await place({**guest, **token}, "guest-orders", email=guests())
            for token in (bearer(CallerRole.CUSTOMER), {"Authorization": "Bearer forged"})
        ]

    assert (for_customers, for_guests) == ([202, 202], [202, 202, 429])
    assert (own, with_token) == ([202, 429], [429, 429])


async def test_webhooks_have_a_limit_of_their_own(behind: Gateway) -> None:
    async with limited(behind.addresses, webhooks=Rate(2, HOUR), requests=Rate(1, HOUR)) as http:
        somebody = new_address()
        answers = [await http.post("/webhooks/stripe", content=b"{}", headers=somebody) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [400, 400, 429]


def test_no_operation_is_without_a_limit() -> None:
    for handler in HANDLERS:
        assert limit_of_address(handler) is not None, handler.operation_id
        assert all(limit_of_account(handler, role) is not None for role in CallerRole), handler.operation_id
        if handler.security == SECURITY:
            assert limit_of_address(handler) is Limit.REQUESTS


def test_the_document_has_the_limits_of_every_operation() -> None:
    document: dict[str, Any] = create_app(cast("Services", None), VERIFIER).openapi_schema.to_schema()
    operations = [operation for path in document["paths"].values() for operation in path.values()]

    assert len(operations) == len(HANDLERS)
    for operation in operations:
        refusal = operation["responses"]["429"]
        assert {"Retry-After", "RateLimit", "RateLimit-Policy"} <= set(refusal["headers"])
        assert "application/problem+json" in refusal["content"]
        done = [answer for status, answer in operation["responses"].items() if status.startswith("2")]
        assert done
        for answer in done:
            assert {"RateLimit", "RateLimit-Policy"} <= set(answer["headers"])


def test_the_edge_has_the_settings_of_the_process() -> None:
    edge = Edge.of(Settings(rate_limits={"orders": "5/60", "reads": None}, trusted_proxies=[ip_network("10.0.0.0/8")]))

    assert edge.rates[Limit.ORDERS] == Rate(5, 60)
    assert Limit.READS not in edge.rates
    assert replace(edge, rates={}).proxies.client_of("10.0.0.1", [HERE]) is not None
