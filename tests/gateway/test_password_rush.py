"""Many sign-ups and logins at once on a slow machine: each waits for its turn, and is served."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import pytest_asyncio
from argon2 import PasswordHasher

from api.app import create_app
from api.services import open_services
from domain.ids import new_id
from runtime.settings import Settings
from tests.support.gateway import PASSWORD, Gateway, gateway_with_services
from tests.support.identities import VERIFIER, tls_settings

AT_ONCE = 13
HASH_SECONDS = 0.1
DEADLINE = 0.4
"""Of usual calls, seconds: shorter than the crowd's hashes take."""


@pytest_asyncio.fixture(scope="module")
async def gateway(databases: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    async with gateway_with_services(databases, stripe_data=tmp_path_factory.mktemp("stripe")) as gateway:
        yield gateway


@pytest.fixture
def slow_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which a hash takes so long."""
    for name in ("hash", "verify"):
        quick = getattr(PasswordHasher, name)

        def slow(*arguments: Any, _quick: Any = quick) -> Any:
            time.sleep(HASH_SECONDS)
            return _quick(*arguments)

        monkeypatch.setattr(PasswordHasher, name, slow)


@asynccontextmanager
async def in_front_of(gateway: Gateway, *, password_deadline: float) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings.model_validate(
        {**tls_settings(), **gateway.addresses, "grpc_deadline": DEADLINE, "password_deadline": password_deadline}
    )
    async with open_services(settings) as services:
        transport = httpx.ASGITransport(create_app(services, VERIFIER))  # type: ignore[arg-type]  # Litestar's own types
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as http:
            yield http


def account() -> dict[str, str]:
    return {"email": f"customer-{new_id()}@example.test", "password": PASSWORD, "name": "Customer"}


def credentials(of: Mapping[str, str]) -> dict[str, str]:
    return {"email": of["email"], "password": of["password"]}


@pytest.mark.usefixtures("slow_hashes")
async def test_sign_ups_and_logins_at_once_wait_for_their_turn(gateway: Gateway) -> None:
    async with in_front_of(gateway, password_deadline=100) as http:
        known = account()
        await http.post("/v1/users", json=known)

        answers = await asyncio.gather(
            *(http.post("/v1/users", json=account()) for _ in range(AT_ONCE)),
            *(http.post("/v1/auth/token", json=credentials(known)) for _ in range(AT_ONCE)),
        )

    assert [answer.status_code for answer in answers] == [201] * AT_ONCE + [200] * AT_ONCE


@pytest.mark.usefixtures("slow_hashes")
async def test_who_waits_too_long_is_told_that_nothing_was_begun_or_which_service_did_not_answer(
    gateway: Gateway,
) -> None:
    async with in_front_of(gateway, password_deadline=DEADLINE) as http:
        answers = await asyncio.gather(*(http.post("/v1/users", json=account()) for _ in range(4 * AT_ONCE)))

    unserved = [answer for answer in answers if answer.status_code != 201]
    assert {answer.status_code for answer in unserved} == {503}
    begins = ("Nothing of the request was begun", "The user service")
    assert all(answer.json()["detail"].startswith(begins) for answer in unserved)
    assert unserved
