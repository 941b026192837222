"""Who may ask for what: every route of the application, by every kind of caller.

`TABLE` says it. A route that is not in it fails a test, and so does a kind of caller without a column.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Mapping
from itertools import product
from statistics import median
from typing import Any, Final, cast

import httpx
import pytest
import pytest_asyncio

from api.app import create_app
from api.services import Services
from domain.ids import new_id
from domain.order_numbers import new_order_number
from tests.support.access import CALLERS, Headers, Things, ask, make_things, open_account, outcome, path_of
from tests.support.gateway import Gateway, gateway_with_services, order_body
from tests.support.identities import VERIFIER

# guest: of an order of their own; owner: of what is asked for; other: another customer; ended, expired and garbled: an
# admin's access token is.
# ok: let in; login: 401; forbid: 403; none: 404, as if it did not exist; no-link: a link that was mailed is needed, and
# no account; sign: Stripe's signature is; no-guest: an account has the order; one-may: nobody has to approve it.
TABLE: Final = """
route                                       nobody  guest   owner   other   support admin   ended   expired garbled
POST /v1/users                              ok      ok      ok      ok      ok      ok      ok      ok      ok
GET /v1/users                               login   forbid  forbid  forbid  ok      ok      login   login   login
GET /v1/users/{user_id}                     login   forbid  ok      none    ok      ok      login   login   login
PATCH /v1/users/{user_id}                   login   forbid  forbid  forbid  forbid  ok      login   login   login
DELETE /v1/users/{user_id}                  login   forbid  forbid  forbid  forbid  ok      login   login   login
DELETE /v1/users/{user_id}/sessions         login   forbid  forbid  forbid  forbid  ok      login   login   login

GET /v1/users/me                            login   forbid  ok      ok      ok      ok      login   login   login
DELETE /v1/users/me                         login   forbid  ok      ok      ok      ok      login   login   login
PUT /v1/users/me/password                   login   forbid  ok      ok      ok      ok      login   login   login
PUT /v1/users/me/email                      login   forbid  ok      ok      ok      ok      login   login   login
POST /v1/users/me/confirmation              login   forbid  ok      ok      ok      ok      login   login   login
GET /v1/users/me/sessions                   login   forbid  ok      ok      ok      ok      login   login   login
DELETE /v1/users/me/sessions                login   forbid  ok      ok      ok      ok      login   login   login
DELETE /v1/users/me/sessions/{session_id}   login   forbid  ok      none    none    none    login   login   login

POST /v1/auth/token                         ok      ok      ok      ok      ok      ok      ok      ok      ok
POST /v1/auth/refresh                       ok      ok      ok      ok      ok      ok      ok      ok      ok
POST /v1/auth/logout                        ok      ok      ok      ok      ok      ok      ok      ok      ok
POST /v1/confirmations                      no-link no-link no-link no-link no-link no-link no-link no-link no-link
POST /v1/password-resets                    ok      ok      ok      ok      ok      ok      ok      ok      ok
POST /v1/password-resets/confirm            no-link no-link no-link no-link no-link no-link no-link no-link no-link

GET /v1/products                            ok      ok      ok      ok      ok      ok      ok      ok      ok
POST /v1/products                           login   forbid  forbid  forbid  forbid  ok      login   login   login
GET /v1/products/{product_id}               ok      ok      ok      ok      ok      ok      ok      ok      ok
PATCH /v1/products/{product_id}             login   forbid  forbid  forbid  forbid  ok      login   login   login
DELETE /v1/products/{product_id}            login   forbid  forbid  forbid  forbid  ok      login   login   login
GET /v1/inventory/{product_id}              login   forbid  forbid  forbid  forbid  ok      login   login   login
POST /v1/inventory/{product_id}/adjustments login   forbid  forbid  forbid  forbid  ok      login   login   login

POST /v1/orders                             login   forbid  ok      ok      ok      ok      login   login   login
GET /v1/orders                              login   forbid  ok      ok      ok      ok      login   login   login
GET /v1/orders/{order_id}                   login   none    ok      none    ok      ok      login   login   login
GET /v1/orders/{order_id}/timeline          login   none    ok      none    ok      ok      login   login   login
GET /v1/orders/{order_id}/events            login   none    ok      none    ok      ok      login   login   login
POST /v1/orders/{order_id}/cancel           login   none    ok      none    ok      ok      login   login   login
GET /v1/orders/{order_id}/refunds           login   none    ok      none    ok      ok      login   login   login
POST /v1/orders/{order_id}/refunds          login   forbid  forbid  forbid  ok      ok      login   login   login
POST /v1/orders/{order_id}/refund-approvals login   forbid  forbid  forbid  forbid  one-may login   login   login
GET /v1/payments/{payment_id}               login   forbid  ok      none    ok      ok      login   login   login
POST /v1/guest-orders                       ok      ok      ok      ok      ok      ok      ok      ok      ok
POST /v1/guest-links                        ok      ok      ok      ok      ok      ok      ok      ok      ok
DELETE /v1/orders/{order_id}/guest          login   none    forbid  forbid  no-guest no-guest login   login   login

POST /v1/notifications                      login   forbid  forbid  forbid  forbid  ok      login   login   login
POST /webhooks/stripe                       sign    sign    sign    sign    sign    sign    sign    sign    sign
GET /docs                                   ok      ok      ok      ok      ok      ok      ok      ok      ok
GET /docs/guide                             ok      ok      ok      ok      ok      ok      ok      ok      ok
GET /docs/problems                          ok      ok      ok      ok      ok      ok      ok      ok      ok
GET /docs/openapi.json                      ok      ok      ok      ok      ok      ok      ok      ok      ok
GET /docs/assets/{file_path}                ok      ok      ok      ok      ok      ok      ok      ok      ok
GET /docs/{path}                            none    none    none    none    none    none    none    none    none
"""
_COLUMN: Final = TABLE.splitlines()[1].index("nobody")


def _read() -> Iterator[tuple[str, Mapping[str, str]]]:
    callers = TABLE.splitlines()[1][_COLUMN:].split()
    for line in TABLE.splitlines()[2:]:
        if line:
            yield line[:_COLUMN].strip(), dict(zip(callers, line[_COLUMN:].split(), strict=True))


ROWS: Final = dict(_read())
HIDDEN: Final = [route for route, row in ROWS.items() if "{" in route and set(row.values()) & {"none", "forbid"}]
"""Routes to what somebody may not know of, or not touch."""


def routes() -> Iterator[str]:
    """Every route and method of the application but what all have: OPTIONS, and HEAD beside GET."""
    for route in create_app(cast("Services", None), VERIFIER).routes:
        for method in getattr(route, "methods", ()):
            if method not in ("OPTIONS", "HEAD"):
                yield f"{method} {route.path_format}"


@pytest_asyncio.fixture(scope="module")
async def gateway(databases: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    async with gateway_with_services(databases, stripe_data=tmp_path_factory.mktemp("stripe")) as gateway:
        yield gateway


@pytest_asyncio.fixture(scope="module")
async def some(gateway: Gateway) -> Things:
    """Things that no test changes."""
    return await make_things(gateway)


@pytest_asyncio.fixture(scope="module")
async def callers(gateway: Gateway, some: Things) -> Mapping[str, Headers]:
    """Of every kind one whom no test changes."""
    return {name: await come(gateway, some) for name, come in CALLERS.items()}


async def call_as(gateway: Gateway, callers: Mapping[str, Headers], route: str, things: Things, name: str) -> Headers:
    """The headers of such a caller; one of the kind alone where they change themselves."""
    if name == "owner" or "/users/me" in route:
        return await CALLERS[name](gateway, things)
    return callers[name]


def test_every_route_and_every_kind_of_caller_is_in_the_table() -> None:
    assert sorted(ROWS) == sorted(routes())
    assert {tuple(row) for row in ROWS.values()} == {tuple(CALLERS)}


@pytest.mark.parametrize("route", ROWS)
async def test_callers_get_what_the_table_says(
    gateway: Gateway, callers: Mapping[str, Headers], some: Things, route: str
) -> None:
    changes = not route.startswith("GET")
    things = await make_things(gateway) if changes else some
    found: dict[str, str] = {}
    for name in CALLERS:
        # whoever is turned away has changed nothing for the next one
        headers = await call_as(gateway, callers, route, things, name)
        found[name] = outcome(await ask(gateway, route, things, headers))
        if not changes:
            head = await ask(gateway, route, things, headers, method="HEAD")
            assert (outcome_of_head(head), head.content) == (head_of(found[name]), b""), name

    assert found == ROWS[route]


def outcome_of_head(answer: httpx.Response) -> int:
    return 200 if answer.status_code == 304 else answer.status_code


def head_of(outcome: str) -> int:
    return {"ok": 200, "login": 401, "forbid": 403, "none": 404}[outcome]


# -- Another's is like nobody's ---------------------------------------------------------------------------------------


def nobodys(things: Things) -> Things:
    """The same, but nothing of it exists."""
    owner = things.owner
    return Things(
        owner=type(owner)(id=new_id(), email=owner.email, session_id=new_id(), headers=owner.headers),
        order_id=new_id(),
        number=new_order_number(),
        payment_id=new_id(),
        product_id=new_id(),
    )


def seen(answer: httpx.Response, path: str, *names: str) -> dict[str, Any]:
    """What a caller can tell two answers apart by: all but the names that they asked by themselves."""
    body = answer.text.replace(path, "-")
    for name in (*path.split("/")[1:], *names):
        body = body.replace(name, "-")
    headers = [(name, value) for name, value in answer.headers.multi_items() if name != "x-request-id"]
    return {"status": answer.status_code, "headers": headers, "body": body}


@pytest.mark.parametrize("route", HIDDEN)
async def test_anothers_answers_like_one_that_does_not_exist(
    gateway: Gateway, callers: Mapping[str, Headers], some: Things, route: str
) -> None:
    none = nobodys(some)
    reads = route.startswith("GET")
    methods = ["GET", "HEAD"] if reads else [route.partition(" ")[0]]
    for name in [name for name, expected in ROWS[route].items() if expected in ("none", "forbid")]:
        for method, conditions in product(methods, [{}, {"If-None-Match": "*"}] if reads else [{}]):
            for another, nothing in ways(route, some, none):
                headers = {**callers[name], **conditions}
                answers = [
                    await ask(gateway, route, some, headers, path=path, method=method) for path in (another, nothing)
                ]

                assert answers[0].status_code in (403, 404)
                assert seen(answers[0], another, some.number) == seen(answers[1], nothing, none.number)


def ways(route: str, some: Things, none: Things) -> Iterator[tuple[str, str]]:
    """The paths to a thing, and to none: by id, and an order by its number, however it is written."""
    yield path_of(route, some), path_of(route, none)
    if "{order_id}" in route:
        for write in (str, str.lower, lambda number: number.replace("-", "")):
            yield path_of(route, some, order_id=write(some.number)), path_of(route, none, order_id=write(none.number))


async def test_who_has_seen_anothers_entity_tag_learns_nothing_by_it(gateway: Gateway, some: Things) -> None:
    other, path = (await open_account(gateway)).headers, f"/v1/orders/{some.order_id}"
    tag = (await gateway.http.get(path, headers=some.owner.headers)).headers["etag"]

    mine = await gateway.http.get(path, headers={**some.owner.headers, "If-None-Match": tag})
    theirs = await gateway.http.get(path, headers={**other, "If-None-Match": tag})

    assert (mine.status_code, outcome(theirs)) == (304, "none")


async def test_no_list_has_anothers_orders(gateway: Gateway, some: Things) -> None:
    other, none = (await open_account(gateway)).headers, nobodys(some)

    async def listed(**query: str) -> httpx.Response:
        return await gateway.http.get("/v1/orders", params=query, headers=other)

    answers = [(await listed(number=number)).json() for number in (some.number, none.number)]
    of_customers = [await listed(customer=things.owner.id) for things in (some, none)]

    assert answers == [{"items": [], "next_cursor": None}] * 2
    assert [outcome(answer) for answer in of_customers] == ["forbid"] * 2
    assert seen(of_customers[0], "/v1/orders") == seen(of_customers[1], "/v1/orders")


async def test_anothers_idempotency_key_is_nobodys(gateway: Gateway, some: Things) -> None:
    owner, other = [(await open_account(gateway)).headers for _ in range(2)]
    key = {"Idempotency-Key": new_id(), "Prefer": "wait=0"}
    body = order_body(some.product_id)

    answers = [await gateway.http.post("/v1/orders", json=body, headers={**who, **key}) for who in (owner, other)]

    assert [answer.status_code for answer in answers] == [202, 202]
    assert "idempotency-replayed" not in answers[1].headers
    assert answers[0].json()["id"] != answers[1].json()["id"]


@pytest.mark.parametrize("route", [route for route in HIDDEN if ROWS[route]["other"] == "none"])
async def test_anothers_takes_no_longer_than_nobodys(gateway: Gateway, some: Things, route: str) -> None:
    other, none = (await open_account(gateway)).headers, nobodys(some)
    paths = path_of(route, some), path_of(route, none)
    times: dict[str, list[float]] = {path: [] for path in paths}
    for turn in range(60):
        for path in paths if turn % 2 else reversed(paths):
            began = time.perf_counter()
            answer = await ask(gateway, route, some, other, path=path)
            times[path].append(time.perf_counter() - began)
            assert answer.status_code == 404

    anothers, nothing = (median(times[path]) for path in paths)

    assert max(anothers, nothing) < 2 * min(anothers, nothing)
