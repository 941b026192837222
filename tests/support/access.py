"""Who may do what over HTTP: everybody who may ask, what they ask for, and what they are answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from domain.ids import new_id
from ordersaga.payment.v1 import payment_pb2
from runtime.caller import SERVICE, CallerRole
from tests.support.gateway import PASSWORD, Gateway, order_body
from tests.support.identities import bearer
from tests.support.rpc import call

Headers = Mapping[str, str]

ANOTHER_PASSWORD: Final = "another correct horse"
_LOGIN: Final = frozenset({"missing-token", "invalid-token", "expired-token"})
_WORDS: Final = {
    "forbidden": "forbid",
    "not-found": "none",
    "link-not-valid": "no-link",
    "bad-webhook-signature": "sign",
    "order-has-no-guest": "no-guest",
    "refund-needs-no-approval": "one-may",
}
_STREAM: Final = "GET /v1/orders/{order_id}/events"
_SETUP: Final = bearer(CallerRole.ADMIN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Somebody with an account, who is logged in."""

    id: str
    email: str
    session_id: str
    headers: Headers


@dataclass(frozen=True, slots=True, kw_only=True)
class Things:
    """What requests are about; the `owner` has the order, which is paid, its payment and a session."""

    owner: Account
    order_id: str
    number: str
    payment_id: str
    product_id: str


async def open_account(gateway: Gateway, role: CallerRole = CallerRole.CUSTOMER) -> Account:
    """A new account, logged in; its headers are good for as long as tests take."""
    account = {"email": f"customer-{new_id()}@example.test", "password": PASSWORD, "name": "Customer"}
    user = (await gateway.http.post("/v1/users", json=account)).json()
    if role is not CallerRole.CUSTOMER:
        changed = await gateway.http.patch(f"/v1/users/{user['id']}", json={"role": role.value}, headers=_SETUP)
        assert changed.status_code == 200, changed.text
    headers = bearer(role, user["id"])
    await log_in(gateway, account["email"])
    sessions = (await gateway.http.get("/v1/users/me/sessions", headers=headers)).json()["items"]
    return Account(id=user["id"], email=account["email"], session_id=sessions[0]["id"], headers=headers)


async def log_in(gateway: Gateway, email: str, **headers: str) -> dict[str, Any]:
    """The tokens of a new session."""
    credentials = {"email": email, "password": PASSWORD}
    answer = await gateway.http.post("/v1/auth/token", json=credentials, headers=headers)
    assert answer.status_code == 200, answer.text
    tokens: dict[str, Any] = answer.json()
    return tokens


async def make_things(gateway: Gateway) -> Things:
    """New ones, of a new owner."""
    owner = await open_account(gateway)
    product = await gateway.http.post(
        "/v1/products", json={"name": "Mug", "unit_price": 2_500, "currency": "EUR"}, headers=_SETUP
    )
    product_id = product.json()["id"]
    order = (
        await gateway.http.post(
            "/v1/orders", json=order_body(product_id), headers={**owner.headers, **_once(), "Prefer": "wait=0"}
        )
    ).json()
    opening = payment_pb2.OpenPaymentRequest(
        order_id=order["id"], user_id=owner.id, amount=2_500, currency="EUR", payment_method="pm_card_visa"
    )
    opened = await call(gateway.services.payment.OpenPayment, opening, caller=SERVICE, deadline=10)
    return Things(
        owner=owner,
        order_id=order["id"],
        number=order["number"],
        payment_id=opened.payment.id,
        product_id=product_id,
    )


# -- Who asks ---------------------------------------------------------------------------------------------------------

Caller = Callable[[Gateway, Things], Awaitable[Headers]]
"""How the headers of a kind of caller are come by."""


async def _nobody(_: Gateway, things: Things) -> Headers:
    return {}


async def _guest(gateway: Gateway, _: Things) -> Headers:
    body = order_body(email=f"guest-{new_id()}@example.test")
    placed = await gateway.http.post("/v1/guest-orders", json=body, headers={**_once(), "Prefer": "wait=0"})
    return {"Authorization": f"Bearer {placed.json()['access_token']}"}


async def _owner(_: Gateway, things: Things) -> Headers:
    return things.owner.headers


async def _other(gateway: Gateway, _: Things) -> Headers:
    return (await open_account(gateway)).headers


async def _support(gateway: Gateway, _: Things) -> Headers:
    return (await open_account(gateway, CallerRole.SUPPORT)).headers


async def _admin(gateway: Gateway, _: Things) -> Headers:
    return (await open_account(gateway, CallerRole.ADMIN)).headers


async def _ended(gateway: Gateway, _: Things) -> Headers:
    account = await open_account(gateway, CallerRole.ADMIN)
    headers = {"Authorization": f"Bearer {(await log_in(gateway, account.email))['access_token']}"}
    ended = await gateway.http.delete("/v1/users/me/sessions", headers=headers)
    assert ended.status_code == 204
    await gateway.ended.catch_up()
    return headers


async def _expired(_: Gateway, things: Things) -> Headers:
    return bearer(CallerRole.ADMIN, ttl=-60)


async def _garbled(_: Gateway, things: Things) -> Headers:
    return {"Authorization": "Bearer a.b.c"}


CALLERS: Final[Mapping[str, Caller]] = {
    "nobody": _nobody,
    "guest": _guest,
    "owner": _owner,
    "other": _other,
    "support": _support,
    "admin": _admin,
    "ended": _ended,
    "expired": _expired,
    "garbled": _garbled,
}
"""Every kind of caller: one more is a line here, and a column of the table."""


# -- What they ask for ------------------------------------------------------------------------------------------------


async def good_request(gateway: Gateway, route: str, things: Things) -> dict[str, Any]:
    """What a request for a route needs besides its path, so that nothing but who asks can be wrong with it."""
    match route:
        case "POST /v1/users":
            return _json(email=f"customer-{new_id()}@example.test", password=PASSWORD, name="Customer")
        case "POST /v1/auth/token":
            return _json(email=things.owner.email, password=PASSWORD)
        case "POST /v1/auth/refresh" | "POST /v1/auth/logout":
            return _json(refresh_token=(await log_in(gateway, things.owner.email))["refresh_token"])
        case "POST /v1/confirmations":
            return _json(token="x" * 43)
        case "POST /v1/password-resets":
            return _json(email=things.owner.email)
        case "POST /v1/password-resets/confirm":
            return _json(token="x" * 43, password=ANOTHER_PASSWORD)
        case "PUT /v1/users/me/password":
            return _json(current_password=PASSWORD, password=ANOTHER_PASSWORD)
        case "PUT /v1/users/me/email":
            return _json(current_password=PASSWORD, email=f"customer-{new_id()}@example.test")
        case "DELETE /v1/users/me":
            return _json(current_password=PASSWORD)
        case "PATCH /v1/users/{user_id}":
            return _json(role="support")
        case "POST /v1/products":
            return _json(name="Mug", unit_price=1_250, currency="EUR")
        case "PATCH /v1/products/{product_id}":
            return _json(name="Cup")
        case "POST /v1/inventory/{product_id}/adjustments":
            return _json(delta=1)
        case "POST /v1/orders":
            return {"json": order_body(things.product_id), "headers": {**_once(), "Prefer": "wait=0"}}
        case "POST /v1/guest-orders":
            body = order_body(things.product_id, email=f"guest-{new_id()}@example.test")
            return {"json": body, "headers": {**_once(), "Prefer": "wait=0"}}
        case "POST /v1/guest-links":
            return _json(number=things.number, email=things.owner.email)
        case "POST /v1/orders/{order_id}/refund-approvals":
            return _json(amount=100)
        case "POST /v1/orders/{order_id}/cancel":
            return {"json": {}, "headers": {**_once(), "Prefer": "wait=0"}}
        case "POST /v1/orders/{order_id}/refunds":
            return {"json": {"amount": 100}, "headers": {**_once(), "Prefer": "wait=0"}}
        case "POST /v1/notifications":
            return _json(channel="email", user_id=things.owner.id, subject="Hello", body="Hello.")
        case "POST /webhooks/stripe":
            return {"content": b"{}", "headers": {"Content-Type": "application/json"}}
        case _:
            return {}


def path_of(route: str, things: Things, **others: str) -> str:
    """The path of a route, to the owner's things but for the others."""
    named = {
        "user_id": things.owner.id,
        "session_id": things.owner.session_id,
        "order_id": things.order_id,
        "payment_id": things.payment_id,
        "product_id": things.product_id,
        "file_path": "docs.css",
        "path": "nothing",
        **others,
    }
    return route.partition(" ")[2].format(**named)


async def ask(
    gateway: Gateway, route: str, things: Things, headers: Headers, *, path: str = "", method: str = ""
) -> httpx.Response:
    """A good request for a route, to the owner's things unless another path is given."""
    parts = await good_request(gateway, route, things)
    parts["headers"] = {**parts.get("headers", {}), **headers}
    if route == _STREAM and not method:  # whoever is let in is answered until they go
        head = await gateway.http.head(path or path_of(route, things), headers=parts["headers"])
        if head.status_code < 400:
            return head
    return await gateway.http.request(method or route.partition(" ")[0], path or path_of(route, things), **parts)


def outcome(answer: httpx.Response) -> str:
    """What became of a request: ok, or a word for how it was refused."""
    if answer.status_code < 400:
        return "ok"
    problem = str(answer.json()["type"].rpartition(":")[2])
    if problem in _LOGIN:
        assert (answer.status_code, "www-authenticate" in answer.headers) == (401, True)
        return "login"
    assert answer.status_code == {"forbidden": 403, "not-found": 404}.get(problem, answer.status_code)
    return _WORDS.get(problem, problem)


def _json(**body: Any) -> dict[str, Any]:
    return {"json": body}


def _once() -> dict[str, str]:
    return {"Idempotency-Key": new_id()}
