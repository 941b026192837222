"""The codec server: shows payloads to admins, in the Web UI's pages and in the temporal command, and to nobody else."""

from __future__ import annotations

import json
import os
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http.cookies import SimpleCookie
from ipaddress import ip_network
from typing import TypeAlias, cast

import httpx
import pytest
import pytest_asyncio
from google.protobuf.json_format import MessageToDict, Parse
from litestar import Litestar
from litestar.testing import AsyncTestClient
from pydantic import SecretStr
from temporalio.api.common.v1 import Payload, Payloads

from domain.ids import new_id
from domain.rate_limits import Limit, Rate
from runtime.caller import Caller, CallerRole
from runtime.limits.limiter import Limiter
from runtime.refusal import Unavailable
from runtime.settings import Settings, SettingsError
from runtime.temporal_codec import EncryptionCodec
from tests.support.identities import PUBLIC_KEYS, bearer, forged_bearer, sign
from tests.support.shared_buckets import Shared
from workers.codec import access
from workers.codec.app import create_app
from workers.codec.users import BadCredentials, SignedIn

PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'{"order_id": "7"}')
UI = "http://127.0.0.1:8233"
FOREIGN = "http://elsewhere.example.test"
KEY = SecretStr(b64encode(os.urandom(32)).decode())
CODEC = EncryptionCodec({"one": KEY})
SETTINGS = Settings(
    temporal_payload_keys={"one": KEY},
    codec_origin=UI,
    jwt_public_keys=PUBLIC_KEYS,
)

UNLIMITED = Limiter(Shared(), {})
HOUR = 3_600

Http: TypeAlias = AsyncTestClient[Litestar]


ROLES = {("admin@example.test", "hers"): CallerRole.ADMIN, ("customer@example.test", "his"): CallerRole.CUSTOMER}


class Accounts:
    """A user service that knows an admin and a customer by these passwords."""

    is_away = False

    async def sign_in(self, *, email: str, password: str) -> SignedIn:
        if self.is_away:
            raise Unavailable("the user service: UNAVAILABLE: nobody listens")
        role = ROLES.get((email, password))
        if role is None:
            raise BadCredentials
        return SignedIn(sign(Caller(role, new_id())), time.time() + 900)


@pytest.fixture
def accounts() -> Accounts:
    return Accounts()


@pytest_asyncio.fixture
async def http(accounts: Accounts) -> AsyncIterator[Http]:
    async with AsyncTestClient(
        create_app(SETTINGS, accounts, UNLIMITED), base_url="https://codec.example.test"
    ) as client:
        yield client


@pytest_asyncio.fixture
async def body() -> str:
    return json.dumps(MessageToDict(Payloads(payloads=await CODEC.encode([PLAIN]))))


async def sign_in(http: Http, email: str, password: str, **headers: str) -> httpx.Response:
    form = {"email": email, "password": password}
    return await http.post("/sign-in", data=form, headers=headers, follow_redirects=False)


async def test_an_admins_token_decodes_and_encodes(http: Http, body: str) -> None:
    decoded = await http.post("/decode", content=body, headers=bearer(CallerRole.ADMIN))
    of_a_namespace = await http.post("/shop/decode", content=body, headers=bearer(CallerRole.ADMIN))
    encoded = await http.post("/encode", content=decoded.content, headers=bearer(CallerRole.ADMIN))

    expected = MessageToDict(Payloads(payloads=[PLAIN]))
    assert (decoded.status_code, decoded.json(), of_a_namespace.json()) == (200, expected, expected)
    assert list(await CODEC.decode(Parse(encoded.content, Payloads()).payloads)) == [PLAIN]
    assert {answer.headers["cache-control"] for answer in (decoded, encoded)} == {"no-store"}


@pytest.mark.parametrize("path", ["/decode", "/encode", "/shop/decode"])
@pytest.mark.parametrize(
    ("headers", "status", "kind"),
    [
        ({}, 401, "missing-token"),
        ({"Authorization": "Basic YWRtaW46aGVycw=="}, 401, "invalid-token"),
        ({"Authorization": "Bearer nonsense"}, 401, "invalid-token"),
        (forged_bearer(), 401, "invalid-token"),
        (bearer(CallerRole.ADMIN, ttl=-10), 401, "expired-token"),
        (bearer(CallerRole.CUSTOMER), 403, "forbidden"),
        ({"Cookie": f"{access.COOKIE}=nonsense"}, 401, "missing-token"),
        ({"Cookie": f"{access.COOKIE}={b'9999999999:admin'.hex()}.{'0' * 64}"}, 401, "missing-token"),
    ],
)
async def test_strangers_customers_and_expired_tokens_are_refused(
    http: Http,
    body: str,
    path: str,
    headers: Mapping[str, str],
    status: int,
    kind: str,
) -> None:
    refused = await http.post(path, content=body, headers=headers)

    assert (refused.status_code, refused.json()["type"]) == (status, f"urn:ordersaga:problem:{kind}")
    assert refused.headers["content-type"].startswith("application/problem+json")
    assert refused.headers["cache-control"] == "no-store"
    assert "order_id" not in refused.text


async def test_who_signed_in_sees_payloads_in_the_web_ui_with_a_short_lived_cookie_that_no_script_reads(
    http: Http,
    body: str,
) -> None:
    page = await http.get("/")
    signed_in = await sign_in(http, "admin@example.test", "hers")
    decoded = await http.post("/decode", content=body, headers={"Origin": UI})
    again = await http.get("/")

    [cookie] = SimpleCookie(signed_in.headers["set-cookie"]).values()
    assert ("<form" in page.text, page.headers["cache-control"]) == (True, "no-store")
    assert (signed_in.status_code, signed_in.headers["location"]) == (303, "/")
    assert (cookie["httponly"], cookie["secure"], cookie["samesite"], cookie["path"]) == (True, True, "strict", "/")
    assert 0 < int(cookie["max-age"]) <= 900
    assert (decoded.status_code, decoded.json()) == (200, MessageToDict(Payloads(payloads=[PLAIN])))
    assert decoded.headers["access-control-allow-origin"] == UI
    assert decoded.headers["access-control-allow-credentials"] == "true"
    assert ("You are signed in" in again.text, UI in again.text) == (True, True)


async def test_a_cookie_is_no_access_token_and_not_good_for_pages_from_elsewhere(http: Http, body: str) -> None:
    await sign_in(http, "admin@example.test", "hers")
    cookie = http.cookies[access.COOKIE]

    as_token = await http.post("/decode", content=body, headers={"Authorization": f"Bearer {cookie}"})
    elsewhere = await http.post("/decode", content=body, headers={"Origin": FOREIGN})

    assert (as_token.status_code, elsewhere.status_code) == (401, 403)
    assert elsewhere.json()["type"] == "urn:ordersaga:problem:foreign-origin"
    assert elsewhere.headers.get("access-control-allow-origin") != FOREIGN


async def test_a_cookie_ends_with_its_time_with_signing_out_and_with_the_server(
    http: Http,
    body: str,
    accounts: Accounts,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await sign_in(http, "admin@example.test", "hers")
    kept = {"Cookie": f"{access.COOKIE}={http.cookies[access.COOKIE]}"}

    signed_out = await http.post("/sign-out", follow_redirects=False)
    without = await http.post("/decode", content=body)
    async with AsyncTestClient(create_app(SETTINGS, accounts, UNLIMITED)) as restarted:
        elsewhere = await restarted.post("/decode", content=body, headers=kept)
    now = time.time()
    monkeypatch.setattr("workers.codec.access.time.time", lambda: now + 901)
    late = await http.post("/decode", content=body, headers=kept)

    assert (signed_out.status_code, access.COOKIE in http.cookies) == (303, False)
    assert [answer.status_code for answer in (without, elsewhere, late)] == [401] * 3


@pytest.mark.parametrize(
    ("email", "password", "headers", "status", "says"),
    [
        ("admin@example.test", "wrong", {}, 401, "E-mail or password is wrong. Try again."),
        ("customer@example.test", "his", {}, 403, "Role customer may not read payloads; admin may."),
        ("admin@example.test", "hers", {"Origin": FOREIGN}, 403, "Sign in, and out, at the page of this server."),
    ],
)
async def test_who_may_not_sign_in_is_told_why_and_gets_no_cookie(
    http: Http,
    email: str,
    password: str,
    headers: Mapping[str, str],
    status: int,
    says: str,
) -> None:
    refused = await sign_in(http, email, password, **headers)

    assert (refused.status_code, says in refused.text) == (status, True)
    assert "set-cookie" not in refused.headers
    assert "frame-ancestors 'none'" in refused.headers["content-security-policy"]


@asynccontextmanager
async def limited(accounts: Accounts, shared: Shared, **rates: int) -> AsyncIterator[Http]:
    """A codec server behind a proxy of ours, with these limits in an hour."""
    limiter = Limiter(
        shared,
        {Limit(name.replace("_", "-")): Rate(count, HOUR) for name, count in rates.items()},
        clock=shared.clock,
    )
    settings = SETTINGS.model_copy(update={"trusted_proxies": [ip_network("127.0.0.0/8")]})
    app = create_app(settings, accounts, limiter)
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))  # type: ignore[arg-type]  # Litestar's own types
    async with httpx.AsyncClient(transport=transport, base_url="https://codec.example.test") as http:
        yield cast("Http", http)


async def test_passwords_are_guessed_no_more_often_than_at_the_gateway(accounts: Accounts) -> None:
    here, elsewhere = {"X-Forwarded-For": "203.0.113.7"}, {"X-Forwarded-For": "198.51.100.1"}
    async with limited(accounts, Shared(), logins_here=2) as http:
        guesses = [await sign_in(http, "admin@example.test", "guess", **here) for _ in range(3)]
        right = await sign_in(http, " ADMIN@example.test", "hers", **here)
        owner = await sign_in(http, "admin@example.test", "hers", **elsewhere)

    assert [guess.status_code for guess in guesses] == [401, 401, 429]
    assert (right.status_code, "set-cookie" in right.headers) == (429, False)
    assert f"Try again in {right.headers['retry-after']} s." in right.text
    assert owner.status_code == 303


async def test_an_address_tries_so_many_accounts_and_no_more(accounts: Accounts) -> None:
    async with limited(accounts, Shared(), logins=2) as http:
        tried = [await sign_in(http, f"{number}@example.test", "guess") for number in range(3)]

    assert [answer.status_code for answer in tried] == [401, 401, 429]


async def test_guesses_from_many_addresses_do_not_lock_out_who_signed_in_before(accounts: Accounts) -> None:
    owner = {"X-Forwarded-For": "203.0.113.7"}
    async with limited(accounts, Shared(), logins_elsewhere=3) as http:
        before = await sign_in(http, "admin@example.test", "hers", **owner)
        guesses = [
            await sign_in(http, "admin@example.test", "guess", **{"X-Forwarded-For": f"198.51.100.{number}"})
            for number in range(4)
        ]
        after = await sign_in(http, "admin@example.test", "hers", **owner)

    assert [guess.status_code for guess in guesses] == [401, 401, 429, 429]
    assert (before.status_code, after.status_code) == (303, 303)


async def test_while_the_user_service_is_away_nobody_signs_in_and_tokens_are_good(
    http: Http,
    body: str,
    accounts: Accounts,
) -> None:
    accounts.is_away = True

    refused = await sign_in(http, "admin@example.test", "hers")
    decoded = await http.post("/decode", content=body, headers=bearer(CallerRole.ADMIN))

    assert (refused.status_code, decoded.status_code) == (503, 200)
    assert "The user service does not answer. Try again in a moment." in refused.text


async def test_the_web_uis_pages_may_ask_and_no_others(http: Http) -> None:
    async def preflight(origin: str) -> Mapping[str, str]:
        asked = {"Method": "POST", "Headers": "content-type,x-namespace,authorization"}
        headers = {f"Access-Control-Request-{name}": value for name, value in asked.items()}
        return (await http.options("/decode", headers={"Origin": origin, **headers})).headers

    allowed, refused = await preflight(UI), await preflight(FOREIGN)

    assert allowed["access-control-allow-origin"] == UI
    assert allowed["access-control-allow-credentials"] == "true"
    assert {"authorization", "content-type", "x-namespace"} <= set(allowed["access-control-allow-headers"].split(", "))
    assert refused.get("access-control-allow-origin") != FOREIGN


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("POST", "/decode", b"no JSON", 400),
        ("POST", "/decode", b'{"payloads": [{"metadata": {"encoding": "YmluYXJ5L2VuY3J5cHRlZA=="}}]}', 400),
        ("POST", "/decode", b"\xff", 400),
        ("GET", "/decode", b"", 405),
        ("POST", "/nowhere/at/all", b"", 404),
    ],
)
async def test_what_cannot_be_done_is_a_problem_in_json(
    http: Http,
    method: str,
    path: str,
    content: bytes,
    status: int,
) -> None:
    answer = await http.request(method, path, content=content, headers=bearer(CallerRole.ADMIN))

    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert answer.headers["content-type"].startswith("application/problem+json")


@pytest.mark.parametrize("missing", ["temporal_payload_keys", "jwt_public_keys"])
def test_a_codec_server_without_its_keys_does_not_start(missing: str) -> None:
    settings = SETTINGS.model_copy(update={missing: None})

    with pytest.raises(SettingsError, match=f"ORDERSAGA_{missing.upper()} is not set"):
        create_app(settings, Accounts(), UNLIMITED)
