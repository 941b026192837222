"""Accounts over HTTP, on the real user service: roles, disabling, sessions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import psycopg
import pytest
import pytest_asyncio

from domain.ids import new_id
from ordersaga.user.v1 import user_pb2
from runtime.caller import SERVICE, CallerRole
from tests.support.gateway import PASSWORD, Gateway, gateway_with_services, order_body
from tests.support.identities import bearer
from tests.support.rpc import call


@pytest_asyncio.fixture(scope="module")
async def gateway(databases: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    async with gateway_with_services(databases, stripe_data=tmp_path_factory.mktemp("stripe")) as gateway:
        yield gateway


ADMIN, SUPPORT = bearer(CallerRole.ADMIN), bearer(CallerRole.SUPPORT)


async def sign_up(gateway: Gateway) -> dict[str, Any]:
    account = {"email": f"customer-{new_id()}@example.test", "password": PASSWORD, "name": "Customer"}
    response = await gateway.http.post("/v1/users", json=account)
    assert response.status_code == 201, response.text
    user: dict[str, Any] = response.json()
    return user


async def log_in(gateway: Gateway, user: Mapping[str, Any], *, agent: str = "Phone/1") -> httpx.Response:
    credentials = {"email": user["email"], "password": PASSWORD}
    return await gateway.http.post("/v1/auth/token", json=credentials, headers={"User-Agent": agent})


async def token(gateway: Gateway, user: Mapping[str, Any], *, agent: str = "Phone/1") -> dict[str, str]:
    response = await log_in(gateway, user, agent=agent)
    assert response.status_code == 200, response.text
    return {"Authorization": f"Bearer {response.json()['access_token']}"}


def problem(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["type"].rpartition(":")[2]


async def change(gateway: Gateway, user: Mapping[str, Any], **changes: Any) -> httpx.Response:
    return await gateway.http.patch(f"/v1/users/{user['id']}", json=changes, headers=ADMIN)


async def test_an_admin_gives_an_account_a_role_and_support_reads_accounts(gateway: Gateway) -> None:
    user = await sign_up(gateway)

    changed = await change(gateway, user, role="support")

    assert (changed.status_code, changed.json()) == (200, {**user, "role": "support"})
    read = await gateway.http.get(f"/v1/users/{user['id']}", headers=SUPPORT)
    assert (read.json(), read.headers["cache-control"]) == (changed.json(), "no-store")
    found = await gateway.http.get("/v1/users", params={"email": user["email"]}, headers=SUPPORT)
    assert found.json() == {"items": [changed.json()], "next_cursor": None}


async def test_accounts_are_administered_by_admins_and_read_by_staff_and_their_holder(gateway: Gateway) -> None:
    user, other = await sign_up(gateway), await sign_up(gateway)
    customer, path = await token(gateway, user), f"/v1/users/{user['id']}"

    assert (await gateway.http.get(path, headers=customer)).json() == user
    anothers = await gateway.http.get(f"/v1/users/{other['id']}", headers=customer)
    nobodys = await gateway.http.get(f"/v1/users/{new_id()}", headers=customer)
    assert problem(anothers) == problem(nobodys) == (404, "not-found")
    assert problem(await gateway.http.get("/v1/users", headers=customer)) == (403, "forbidden")
    for headers in (customer, SUPPORT):
        assert problem(await gateway.http.patch(path, json={"role": "admin"}, headers=headers)) == (403, "forbidden")
        assert problem(await gateway.http.delete(f"{path}/sessions", headers=headers)) == (403, "forbidden")


@pytest.mark.parametrize("body", [{"role": "operator"}, {"role": None}, {"disabled": "yes"}, {"name": "x"}])
async def test_what_cannot_be_changed_is_named(gateway: Gateway, body: dict[str, Any]) -> None:
    user = await sign_up(gateway)

    response = await change(gateway, user, **body)

    assert problem(response) == (400, "validation")
    assert [error["field"] for error in response.json()["errors"]] == list(body)


async def test_a_disabled_account_cannot_log_in_and_its_tokens_are_refused_once_that_is_known(
    gateway: Gateway,
) -> None:
    user = await sign_up(gateway)
    headers = await token(gateway, user)
    assert (await gateway.http.get("/v1/users/me", headers=headers)).status_code == 200

    assert (await change(gateway, user, disabled=True)).json()["disabled"] is True
    await gateway.ended.catch_up()

    refused = await gateway.http.get("/v1/users/me", headers=headers)
    assert problem(refused) == (401, "invalid-token")
    assert "ended" in refused.json()["detail"]
    assert problem(await log_in(gateway, user)) == (403, "account-disabled")
    await change(gateway, user, disabled=False)
    assert (await log_in(gateway, user)).status_code == 200


async def test_a_customer_sees_where_they_are_logged_in_and_logs_out_there(gateway: Gateway) -> None:
    user = await sign_up(gateway)
    phone, laptop = await token(gateway, user), await token(gateway, user, agent="Laptop/2")

    listed = await gateway.http.get("/v1/users/me/sessions", headers=laptop)

    [first, second] = listed.json()["items"]
    assert [(each["user_agent"], each["is_current"]) for each in (first, second)] == [
        ("Laptop/2", True),
        ("Phone/1", False),
    ]
    assert listed.headers["cache-control"] == "no-store"
    ended = await gateway.http.delete(f"/v1/users/me/sessions/{second['id']}", headers=laptop)
    again = await gateway.http.delete(f"/v1/users/me/sessions/{second['id']}", headers=laptop)
    assert (ended.status_code, problem(again)) == (204, (404, "not-found"))
    await gateway.ended.catch_up()
    assert problem(await gateway.http.get("/v1/users/me", headers=phone)) == (401, "invalid-token")
    assert (await gateway.http.get("/v1/users/me", headers=laptop)).status_code == 200


@pytest.mark.parametrize("by", ["themselves", "an admin"])
async def test_somebody_is_logged_out_everywhere(gateway: Gateway, by: str) -> None:
    user = await sign_up(gateway)
    tokens = [await token(gateway, user) for _ in range(2)]

    if by == "themselves":
        ended = await gateway.http.delete("/v1/users/me/sessions", headers=tokens[0])
    else:
        ended = await gateway.http.delete(f"/v1/users/{user['id']}/sessions", headers=ADMIN)
    await gateway.ended.catch_up()

    assert ended.status_code == 204
    for headers in tokens:
        assert problem(await gateway.http.get("/v1/users/me", headers=headers)) == (401, "invalid-token")


async def test_the_last_admin_stays_one(gateway: Gateway, databases: Mapping[str, str]) -> None:
    users = [await sign_up(gateway) for _ in range(2)]
    async with await psycopg.AsyncConnection.connect(databases["user"]) as connection:  # other tests leave admins there
        await connection.execute("UPDATE users SET role = 'customer' WHERE role = 'admin'")
    for user in users:
        await change(gateway, user, role="admin")

    assert (await change(gateway, users[0], disabled=True)).status_code == 200
    assert problem(await change(gateway, users[1], role="customer")) == (409, "last-admin")


async def mailed_token(gateway: Gateway, databases: Mapping[str, str], user: Mapping[str, Any], purpose: str) -> str:
    """The token that the last mail of this purpose has: what the notification service asks for when it writes one."""
    async with await psycopg.AsyncConnection.connect(databases["user"]) as connection:
        query = "SELECT id::text FROM account_links WHERE user_id = %s AND purpose = %s ORDER BY requested_at DESC"
        found = await (await connection.execute(query, (user["id"], purpose))).fetchone()
    assert found is not None
    request = user_pb2.IssueLinkRequest(link_id=found[0])
    return (await call(gateway.services.user.IssueLink, request, caller=SERVICE)).token


async def test_an_address_is_confirmed_by_the_token_that_was_mailed_to_it(
    gateway: Gateway, databases: Mapping[str, str]
) -> None:
    user = await sign_up(gateway)
    headers = await token(gateway, user)
    assert user["email_confirmed"] is False

    again = await gateway.http.post("/v1/users/me/confirmation", headers=headers)
    body = {"token": await mailed_token(gateway, databases, user, "confirm-email")}
    answers = [await gateway.http.post("/v1/confirmations", json=body) for _ in range(2)]

    assert (again.status_code, again.json()) == (202, {})
    assert [(answer.status_code, answer.content) for answer in answers] == [(204, b"")] * 2
    assert (await gateway.http.get("/v1/users/me", headers=headers)).json()["email_confirmed"] is True


async def test_a_link_can_be_asked_for_a_few_times_an_hour(gateway: Gateway) -> None:
    headers = await token(gateway, await sign_up(gateway))

    answers = [await gateway.http.post("/v1/users/me/confirmation", headers=headers) for _ in range(5)]

    assert [answer.status_code for answer in answers[:4]] == [202] * 4
    assert problem(answers[4]) == (429, "too-many-mails")


@pytest.mark.parametrize("path", ["/v1/confirmations", "/v1/password-resets/confirm"])
@pytest.mark.parametrize("forged", ["x", "A" * 64, "ä" * 64])
async def test_a_token_that_opens_nothing_is_a_problem_of_its_own(gateway: Gateway, path: str, forged: str) -> None:
    body = {"token": forged} if path == "/v1/confirmations" else {"token": forged, "password": "battery staple"}

    assert problem(await gateway.http.post(path, json=body)) == (400, "link-not-valid")


async def test_a_forgotten_password_is_asked_for_and_chosen_anew(
    gateway: Gateway, databases: Mapping[str, str]
) -> None:
    user = await sign_up(gateway)
    headers = await token(gateway, user)

    known = await gateway.http.post("/v1/password-resets", json={"email": user["email"]})
    unknown = await gateway.http.post("/v1/password-resets", json={"email": f"nobody-{new_id()}@example.test"})
    for answer in (known, unknown):
        answer.headers.pop("x-request-id")
    assert (known.status_code, known.content, known.headers) == (202, b"{}", unknown.headers)
    assert (unknown.status_code, unknown.content) == (202, b"{}")
    await gateway.user.resets.process_due()
    reset = {"token": await mailed_token(gateway, databases, user, "reset-password"), "password": "battery staple"}
    weak = await gateway.http.post("/v1/password-resets/confirm", json={**reset, "password": "password1"})
    assert (problem(weak), weak.json()["errors"][0]["field"]) == ((400, "validation"), "password")
    assert (await gateway.http.post("/v1/password-resets/confirm", json=reset)).status_code == 204

    await gateway.ended.catch_up()
    assert problem(await gateway.http.get("/v1/users/me", headers=headers)) == (401, "invalid-token")
    assert problem(await log_in(gateway, user)) == (401, "bad-credentials")
    assert problem(await gateway.http.post("/v1/password-resets/confirm", json=reset)) == (400, "link-not-valid")


async def test_a_password_is_changed_by_who_knows_it_and_other_sessions_end(gateway: Gateway) -> None:
    user = await sign_up(gateway)
    this, other = await token(gateway, user), await token(gateway, user)
    body = {"current_password": "wrong horse", "password": "battery staple"}

    wrong = await gateway.http.put("/v1/users/me/password", json=body, headers=this)
    right = await gateway.http.put("/v1/users/me/password", json={**body, "current_password": PASSWORD}, headers=this)

    assert (problem(wrong), right.status_code) == ((401, "bad-credentials"), 204)
    await gateway.ended.catch_up()
    assert (await gateway.http.get("/v1/users/me", headers=this)).status_code == 200
    assert problem(await gateway.http.get("/v1/users/me", headers=other)) == (401, "invalid-token")


async def test_another_address_counts_once_it_is_confirmed(gateway: Gateway, databases: Mapping[str, str]) -> None:
    user, other = await sign_up(gateway), await sign_up(gateway)
    headers, another = await token(gateway, user), f"another-{new_id()}@example.test"
    body = {"current_password": PASSWORD, "email": another}

    taken = await gateway.http.put("/v1/users/me/email", json={**body, "email": other["email"]}, headers=headers)
    asked = await gateway.http.put("/v1/users/me/email", json=body, headers=headers)

    assert (problem(taken), asked.status_code) == ((409, "email-taken"), 202)
    assert (await gateway.http.get("/v1/users/me", headers=headers)).json()["email"] == user["email"]
    confirmation = {"token": await mailed_token(gateway, databases, user, "change-email")}
    assert (await gateway.http.post("/v1/confirmations", json=confirmation)).status_code == 204
    me = (await gateway.http.get("/v1/users/me", headers=headers)).json()
    assert (me["email"], me["email_confirmed"]) == (another, True)


async def test_a_customer_erases_themselves_and_their_orders_stay_without_them(gateway: Gateway) -> None:
    user = await sign_up(gateway)
    headers = await token(gateway, user)
    key = {"Idempotency-Key": new_id(), "Prefer": "wait=0"}
    order = (await gateway.http.post("/v1/orders", json=order_body(), headers={**headers, **key})).json()

    async def erase(password: str) -> httpx.Response:
        body = {"current_password": password}
        return await gateway.http.request("DELETE", "/v1/users/me", json=body, headers=headers)

    assert problem(await erase("wrong horse")) == (401, "bad-credentials")
    assert (await erase(PASSWORD)).status_code == 204

    await gateway.user.erasing.process_due()
    open_order = (await gateway.http.get(f"/v1/orders/{order['id']}", headers=ADMIN)).json()
    assert open_order["shipping_address"]["name"] == "Customer"  # it is needed until the order has ended
    await gateway.ended.catch_up()
    assert problem(await gateway.http.get("/v1/users/me", headers=headers)) == (401, "invalid-token")
    assert problem(await log_in(gateway, user)) == (401, "bad-credentials")
    assert problem(await gateway.http.get(f"/v1/users/{user['id']}", headers=ADMIN)) == (404, "not-found")


async def test_an_admin_erases_somebody_else_once_and_nobody_without_a_word_themselves(gateway: Gateway) -> None:
    user, admin_id = await sign_up(gateway), new_id()
    admin, path = bearer(CallerRole.ADMIN, admin_id), f"/v1/users/{user['id']}"

    erased = await gateway.http.delete(path, headers=admin)

    assert erased.status_code == 204
    assert problem(await gateway.http.delete(path, headers=admin)) == (404, "not-found")
    assert problem(await gateway.http.delete(f"/v1/users/{admin_id}", headers=admin)) == (400, "validation")
    assert problem(await gateway.http.delete(path, headers=SUPPORT)) == (403, "forbidden")
