"""Orders that the shop's back end places for its customers over HTTP, with shipping and discounts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest
import pytest_asyncio

from domain.ids import new_id
from runtime.caller import CallerRole
from tests.support.gateway import order_body, sign_up
from tests.support.guest_shop import PRICE, GuestShop, Placed, open_guest_shop, with_token
from tests.support.identities import bearer
from tests.support.rows import fetch_rows

BACK_END = bearer(CallerRole.ADMIN)
EXPIRED = bearer(CallerRole.ADMIN, ttl=-60)
ADJUSTMENTS = [
    {"type": "shipping", "name": "Parcel", "amount": 490},
    {"type": "discount", "name": "Welcome, 10 %", "amount": 125},
]
TOTAL = PRICE + 490 - 125


@pytest_asyncio.fixture(scope="module")
async def shop(databases: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GuestShop]:
    async with open_guest_shop(databases, tmp_path_factory.mktemp("stripe")) as shop:
        yield shop


async def place(
    shop: GuestShop, headers: Mapping[str, str], *, route: str = "/v1/orders", key: str = "", **body: Any
) -> httpx.Response:
    headers = {"Idempotency-Key": key or new_id(), "Prefer": "wait=0", **headers}
    return await shop.http.post(route, json=order_body(**body), headers=headers)


async def place_for(shop: GuestShop, customer: str, *, key: str = "", **body: Any) -> httpx.Response:
    """By the back end, with shipping and a discount."""
    return await place(shop, BACK_END, key=key, **{"customer": customer, "adjustments": ADJUSTMENTS, **body})


async def place_for_guest(shop: GuestShop, email: str, *, key: str = "", **body: Any) -> httpx.Response:
    body = {"email": email, "adjustments": ADJUSTMENTS, **body}
    return await place(shop, BACK_END, route="/v1/guest-orders", key=key, **body)


async def orders_of(shop: GuestShop, user_id: str) -> int:
    [[count]] = await fetch_rows(
        shop.gateway.order.database, "SELECT count(*) FROM orders WHERE user_id = %(id)s", id=user_id
    )
    return int(count)


def problem(answer: httpx.Response) -> tuple[int, str, list[str]]:
    """Status and name of a refusal, and the fields that it names."""
    body = answer.json()
    return answer.status_code, body["type"].rpartition(":")[2], [each["field"] for each in body.get("errors", [])]


def email() -> str:
    return f"guest-{new_id()}@example.test"


async def test_the_customer_reads_pays_and_cancels_it_like_one_of_their_own(shop: GuestShop) -> None:
    user_id, customer = await sign_up(shop.gateway)

    placed = await place_for(shop, user_id)
    path = placed.headers["location"]
    await shop.open_payment(placed.json()["id"])
    pending = (await shop.get(path, customer)).json()

    assert (placed.status_code, placed.json()["adjustments"]) == (202, ADJUSTMENTS)
    assert (pending["status"], pending["total"], pending["adjustments"]) == ("PENDING", TOTAL, ADJUSTMENTS)
    assert [item["unit_price"] for item in pending["items"]] == [PRICE]
    assert pending["client_secret"].startswith("pi_")
    assert (await shop.get(path, BACK_END)).json()["client_secret"] is None
    assert [each["id"] for each in (await shop.get("/v1/orders", customer)).json()["items"]] == [pending["id"]]
    headers = {"Idempotency-Key": new_id(), "Prefer": "wait=0", **customer}
    assert (await shop.http.post(f"{path}/cancel", json={}, headers=headers)).status_code == 202


async def test_an_order_of_their_own_has_no_adjustments(shop: GuestShop) -> None:
    _, customer = await sign_up(shop.gateway)

    placed = await place(shop, customer)

    assert placed.json()["adjustments"] == []


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"adjustments": ADJUSTMENTS}, ["adjustments"]),
        ({"adjustments": []}, ["adjustments"]),
        ({"customer": "own"}, ["customer"]),
        ({"customer": "own", "adjustments": ADJUSTMENTS}, ["customer", "adjustments"]),
    ],
)
@pytest.mark.parametrize("role", [CallerRole.CUSTOMER, CallerRole.SUPPORT])
async def test_a_browser_may_not_say_it(
    shop: GuestShop, role: CallerRole, body: dict[str, Any], fields: list[str]
) -> None:
    user_id, _ = await sign_up(shop.gateway)
    body = {name: user_id if value == "own" else value for name, value in body.items()}

    refused = await place(shop, bearer(role, user_id), **body)

    assert problem(refused) == (403, "back-end-only", fields)
    assert "admin" in refused.json()["detail"]
    assert await orders_of(shop, user_id) == 0


async def test_adjustments_come_with_whom_the_order_is_for(shop: GuestShop) -> None:
    refused = await place(shop, BACK_END, adjustments=ADJUSTMENTS)

    assert problem(refused) == (400, "validation", ["customer"])


async def test_there_must_be_an_account_that_somebody_can_log_in_with(shop: GuestShop) -> None:
    disabled, _ = await sign_up(shop.gateway)
    await shop.http.patch(f"/v1/users/{disabled}", json={"disabled": True}, headers=BACK_END)

    for customer in (new_id(), disabled):
        refused = await place_for(shop, customer)
        assert problem(refused) == (400, "validation", ["customer"])
        assert await orders_of(shop, customer) == 0


async def test_the_limits_are_the_customers(shop: GuestShop) -> None:
    limit = shop.gateway.order.customer_limits.orders
    user_id, customer = await sign_up(shop.gateway)
    placed = [await place_for(shop, user_id) for _ in range(limit)]

    assert {answer.status_code for answer in placed} == {202}
    assert problem(await place_for(shop, user_id))[:2] == (409, "too-many-open-orders")
    assert problem(await place(shop, customer))[:2] == (409, "too-many-open-orders")


class TestKey:
    async def test_it_is_the_customers_whichever_account_of_the_back_end_sends_it(self, shop: GuestShop) -> None:
        (ada, _), (bob, _), key = await sign_up(shop.gateway), await sign_up(shop.gateway), new_id()
        lines = [{"product_id": new_id(), "quantity": 1}]
        body: dict[str, Any] = {"customer": ada, "adjustments": ADJUSTMENTS, "lines": lines}
        first, again = [await place(shop, bearer(CallerRole.ADMIN), key=key, **body) for _ in range(2)]
        of_another = await place_for(shop, bob, key=key)

        assert again.json()["id"] == first.json()["id"] != of_another.json()["id"]
        assert again.headers["idempotency-replayed"] == "true"

    async def test_it_is_apart_from_the_customers_own(self, shop: GuestShop) -> None:
        (user_id, customer), key = await sign_up(shop.gateway), new_id()

        own = await place(shop, customer, key=key)
        placed = await place_for(shop, user_id, key=key)

        assert (placed.status_code, own.status_code) == (202, 202)
        assert placed.json()["id"] != own.json()["id"]

    async def test_it_stands_for_one_shipping(self, shop: GuestShop) -> None:
        (user_id, _), key, product = await sign_up(shop.gateway), new_id(), new_id()
        lines = [{"product_id": product, "quantity": 1}]
        await place_for(shop, user_id, key=key, lines=lines)

        refused = await place_for(shop, user_id, key=key, lines=lines, adjustments=ADJUSTMENTS[:1])

        assert problem(refused)[:2] == (422, "idempotency-key-reused")


class TestGuests:
    async def test_the_guest_follows_it_with_the_token_of_the_answer(self, shop: GuestShop) -> None:
        placed = await place_for_guest(shop, address := email())
        order, guest = placed.json()["order"], with_token(placed.json()["access_token"])
        await shop.open_payment(order["id"])
        pending = (await shop.get(f"/v1/orders/{order['id']}", guest)).json()

        assert (order["guest_email"], order["adjustments"]) == (address, ADJUSTMENTS)
        assert (pending["status"], pending["total"]) == ("PENDING", TOTAL)
        assert pending["client_secret"].startswith("pi_")

    async def test_the_mail_has_rows_for_them(self, shop: GuestShop) -> None:
        answer = await place_for_guest(shop, address := email())
        placed = Placed(address, answer, {}, "")
        await shop.mark_pending(placed)

        [mail] = await shop.deliver(placed)

        assert (
            "1 x Mug\n    12.50 EUR each, 12.50 EUR\n"
            "Parcel\n    4.90 EUR\nWelcome, 10 %\n    -1.25 EUR\n\nTotal: 16.15 EUR\n"
        ) in mail.text

    @pytest.mark.parametrize(
        ("headers", "refusal"),
        [
            ({}, (403, "back-end-only", ["adjustments"])),
            (bearer(CallerRole.CUSTOMER), (403, "back-end-only", ["adjustments"])),
            (bearer(CallerRole.SUPPORT), (403, "back-end-only", ["adjustments"])),
            (EXPIRED, (401, "expired-token", [])),
            (with_token("garbage"), (401, "invalid-token", [])),
        ],
        ids=["nobody", "customer", "support", "expired", "garbage"],
    )
    @pytest.mark.parametrize("adjustments", [ADJUSTMENTS, []], ids=["some", "none"])
    async def test_nobody_else_may_say_it(
        self,
        shop: GuestShop,
        headers: dict[str, str],
        refusal: tuple[int, str, list[str]],
        adjustments: list[dict[str, Any]],
    ) -> None:
        body: dict[str, Any] = {"email": email(), "adjustments": adjustments}

        assert problem(await place(shop, headers, route="/v1/guest-orders", **body)) == refusal

    async def test_its_key_is_the_addresss_and_apart_from_the_guests_own(self, shop: GuestShop) -> None:
        address, key, lines = email(), new_id(), [{"product_id": new_id(), "quantity": 1}]

        own = await shop.order(address, key=key, lines=lines)
        placed = await place_for_guest(shop, address, key=key, lines=lines, adjustments=[])
        again = await place_for_guest(shop, address, key=key, lines=lines, adjustments=[])

        assert len({own.id, placed.json()["order"]["id"]}) == 2
        assert again.json()["order"]["id"] == placed.json()["order"]["id"]

    async def test_a_key_that_can_be_guessed_is_refused(self, shop: GuestShop) -> None:
        refused = await place_for_guest(shop, email(), key="order-1")

        assert problem(refused) == (400, "validation", ["Idempotency-Key"])

    async def test_the_limits_are_the_addresss(self, shop: GuestShop) -> None:
        limits = shop.gateway.order.guest_limits
        assert limits is not None
        address = email()
        placed = [await place_for_guest(shop, address) for _ in range(limits.orders)]

        assert {answer.status_code for answer in placed} == {202}
        assert problem(await place_for_guest(shop, address.upper()))[:2] == (409, "too-many-open-orders")
