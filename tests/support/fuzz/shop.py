"""A shop in use, for requests to name what there is: accounts, products, and orders that stand everywhere."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import jwt

from domain.ids import new_id
from sandbox.endpoints import Account
from tests.support.client import PASSWORD, Customer, StackClient, order_of

Json = dict[str, Any]

ADDRESSES: Final[tuple[Json, ...]] = (
    {"name": "Ada Byron", "line1": "1 High Street", "city": "Berlin", "postal_code": "10115", "country": "DE"},
    {"name": "李雷", "line1": "1 Queen's Road", "region": "Hong Kong Island", "country": "HK"},
    {
        "name": "Zoë O’Neill",
        "line1": "1 Main St",
        "line2": "Apt 4",
        "city": "Springfield",
        "region": "IL",
        "postal_code": "62701",
        "country": "US",
    },
)
METHODS: Final = (None, "pm_card_visa", "pm_card_visa", "pm_card_chargeDeclined")
ROLES: Final = ("customer", "support", "admin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What there is. Requests that succeed add to it."""

    products: list[str]
    orders: list[str]
    """Ids and numbers."""
    paid: list[str] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    """Of orders that nothing can happen to any more."""
    guests: list[str] = field(default_factory=list)
    """Of guests' orders that have ended."""
    payments: list[str] = field(default_factory=list)
    cursors: list[str] = field(default_factory=list)
    refresh_tokens: list[str] = field(default_factory=list)
    users: list[str]
    """Who may be read, disabled, erased and mailed to; none of them calls."""
    emails: list[str]


class Accounts:
    """The callers' accounts: one of each role, another for what changes one's own account, and a new one for one that
    is spent by that."""

    def __init__(self, http: httpx.Client, admin: Account, customer: str) -> None:
        """Over HTTP.

        Args:
            http: to the gateway.
            admin: who gives accounts their roles.
            customer: the address of the customer whose orders there are.
        """
        self._http = http
        self._admin = admin
        self._customer = customer
        self._tokens: dict[tuple[str, bool], dict[str, str]] = {}

    def headers(self, role: str, *, is_spare: bool) -> dict[str, str]:
        """The header with somebody's token."""
        if (role, is_spare) not in self._tokens and role == "guest":
            self._tokens[role, is_spare] = self._order()
        if (role, is_spare) not in self._tokens:
            is_ours = role == "customer" and not is_spare
            email = self._customer if is_ours else self._open(role)
            self._tokens[role, is_spare] = self._sign_in(email, PASSWORD)
        return self._tokens[role, is_spare]

    def session(self, role: str) -> str:
        """The session of a role's spare account; a guest has none."""
        token = self.headers(role, is_spare=True)["Authorization"].removeprefix("Bearer ")
        return str(jwt.decode(token, options={"verify_signature": False}).get("sid", new_id()))

    def renew(self, role: str, *, is_spare: bool) -> None:
        """The account can no longer call: the next request has another."""
        self._tokens.pop((role, is_spare), None)

    def _open(self, role: str) -> str:
        """The address of a new account."""
        email = f"{role}-{new_id()}@example.test"
        new = {"email": email, "password": PASSWORD, "name": "Somebody"}
        user = self._http.post("/v1/users", json=new).raise_for_status().json()
        if role != "customer":
            admin = self._sign_in(self._admin.email, self._admin.password)
            self._http.patch(f"/v1/users/{user['id']}", json={"role": role}, headers=admin).raise_for_status()
        return email

    def _order(self) -> dict[str, str]:
        """The token of a guest, for an order of a product that there is not."""
        body = {**order_of(new_id(), quantity=1), "email": f"guest-{new_id()}@example.test"}
        placed = self._http.post("/v1/guest-orders", json=body, headers={"Idempotency-Key": new_id()})
        return {"Authorization": f"Bearer {placed.raise_for_status().json()['access_token']}"}

    def _sign_in(self, email: str, password: str) -> dict[str, str]:
        credentials = {"email": email, "password": password}
        token = self._http.post("/v1/auth/token", json=credentials).raise_for_status().json()
        return {"Authorization": f"Bearer {token['access_token']}"}


async def furnish(client: StackClient) -> tuple[Known, Customer]:
    """A shop with a customer whose orders stand everywhere."""
    customer, others = await client.sign_up(), [await client.sign_up() for _ in range(6)]
    products = [await client.add_product(units=1_000_000) for _ in range(3)]
    known = Known(
        products=[*products, await client.add_product(units=1)],
        orders=[],
        users=[other.id for other in others],
        emails=[other.email for other in others[:3]],
    )
    for method in (*["pm_card_visa"] * 6, "pm_card_chargeDeclined", None, None):
        body = {**order_of(products[0], quantity=2), "payment_method": method}
        note_order(known, (await client.place(customer, body, key=new_id())).raise_for_status().json())
    known.paid.extend(known.orders[:12])
    unknown = order_of(new_id(), quantity=1)
    failed = (await client.place(customer, unknown, key=new_id())).raise_for_status().json()
    note_order(known, failed)
    known.ended.extend((failed["id"], failed["number"]))
    cancelled = {**customer.token, "Idempotency-Key": new_id()}
    path = f"/v1/orders/{known.orders[-3]}/cancel"
    (await client.gateway.post(path, json={}, headers=cancelled)).raise_for_status()
    note_order(known, (await client.place(others[0], order_of(products[1], quantity=1), key=new_id())).json())
    guest = {**unknown, "email": f"guest-{new_id()}@example.test"}
    waiting = {"Idempotency-Key": new_id(), "Prefer": "wait=60"}
    placed = (await client.gateway.post("/v1/guest-orders", json=guest, headers=waiting)).raise_for_status().json()
    known.guests.append(placed["order"]["id"])
    return known, customer


def note_order(known: Known, order: Json) -> None:
    """Know an order by its id and its number, and its payment."""
    known.orders.extend((order["id"], order["number"]))
    if order["status"] == "PAID":
        known.paid.append(order["id"])
    if order["status"] == "PENDING":
        known.pending.append(order["id"])
    if order["payment_id"]:
        known.payments.append(order["payment_id"])


def choose(chance: random.Random, among: list[str]) -> str:
    """One of what is known, the later ones more often; an id that nothing has where nothing is known."""
    return among[int(len(among) * chance.random() ** 0.5)] if among else new_id()
