"""Orders without an account over HTTP: what a guest may do with theirs, and nobody else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import httpx
import pytest
import pytest_asyncio

from domain.ids import new_id
from domain.orders import GUEST_TOKEN_SECONDS, OrderStatus
from runtime.caller import CallerRole
from tests.support.gateway import order_body, sign_up
from tests.support.guest_shop import GuestShop, open_guest_shop, token_in, with_token
from tests.support.identities import VERIFIER, bearer, guest_bearer
from tests.support.rows import fetch_rows

ADMIN, SUPPORT = bearer(CallerRole.ADMIN), bearer(CallerRole.SUPPORT)


@pytest_asyncio.fixture(scope="module")
async def shop(databases: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GuestShop]:
    async with open_guest_shop(databases, tmp_path_factory.mktemp("stripe")) as shop:
        yield shop


def problem(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["type"].rpartition(":")[2]


async def test_a_guest_orders_and_follows_the_order_with_the_token_of_the_answer(shop: GuestShop) -> None:
    placed = await shop.order("Ada@Example.test", name="Ada")

    assert placed.answer.status_code == 202
    assert placed.answer.headers["location"] == f"/v1/orders/{placed.id}"
    assert placed.answer.headers["cache-control"] == "no-store"
    assert placed.order["guest_email"] == "Ada@Example.test"
    for path in ("", "/timeline", "/refunds"):
        read = await shop.get(f"/v1/orders/{placed.id}{path}", placed.headers)
        assert (read.status_code, read.headers["cache-control"]) == (200, "no-store")
    await shop.mark_pending(placed)
    order = (await shop.get(f"/v1/orders/{placed.order['number']}?expand=payment", placed.headers)).json()
    assert (order["status"], order["payment"]["status"]) == ("PENDING", "REQUIRES_PAYMENT_METHOD")
    assert order["client_secret"].startswith("pi_")


async def test_a_guest_cancels_their_order(shop: GuestShop) -> None:
    placed = await shop.order()

    headers = {"Idempotency-Key": new_id(), "Prefer": "wait=0", **placed.headers}
    asked = await shop.http.post(f"/v1/orders/{placed.id}/cancel", json={"note": "mine"}, headers=headers)

    assert asked.status_code == 202
    rows = await fetch_rows(
        shop.gateway.order.database,
        "SELECT cancelled_by FROM cancellation_requests WHERE order_id = %(id)s",
        id=placed.id,
    )
    assert rows == [("CUSTOMER",)]


async def test_a_token_is_for_one_order_and_nothing_else(shop: GuestShop) -> None:
    placed, other = await shop.order(), await shop.order()
    _, customer = await sign_up(shop.gateway)
    headers = {"Idempotency-Key": new_id(), **customer}
    customers = (await shop.http.post("/v1/orders", json=order_body(), headers=headers)).json()["id"]

    for order_id in (other.id, customers, new_id()):
        for path in ("", "/timeline", "/refunds"):
            answer = await shop.get(f"/v1/orders/{order_id}{path}", placed.headers)
            assert problem(answer) == (404, "not-found")
        headers = {"Idempotency-Key": new_id(), **placed.headers}
        cancel = await shop.http.post(f"/v1/orders/{order_id}/cancel", json={}, headers=headers)
        assert problem(cancel) == (404, "not-found")
    for path in ("/v1/orders", "/v1/users/me", "/v1/users/me/sessions", f"/v1/payments/{new_id()}"):
        assert problem(await shop.get(path, placed.headers)) == (403, "forbidden")
    headers = {"Idempotency-Key": new_id(), **placed.headers}
    assert problem(await shop.http.post("/v1/orders", json=order_body(), headers=headers)) == (403, "forbidden")
    refund = await shop.http.post(f"/v1/orders/{placed.id}/refunds", json={}, headers=headers)
    assert problem(refund) == (403, "forbidden")
    assert problem(await shop.get(f"/v1/orders/{placed.id}", customer)) == (404, "not-found")
    assert (await shop.get(f"/v1/orders/{placed.id}", SUPPORT)).json()["guest_email"] == placed.email


async def test_the_token_is_bound_to_the_order_and_dies_thirty_days_later(shop: GuestShop) -> None:
    placed = await shop.order()

    caller = VERIFIER.verify(placed.headers["Authorization"].removeprefix("Bearer "))

    assert (caller.role, caller.order_id) == (CallerRole.GUEST, placed.id)
    assert placed.answer.json()["expires_at"] is not None
    rows = await fetch_rows(shop.gateway.order.database, "SELECT user_id FROM orders WHERE id = %(id)s", id=placed.id)
    assert rows == [(caller.id,)]
    assert GUEST_TOKEN_SECONDS == 30 * 86_400


class TestKey:
    async def test_a_repeat_of_the_whole_request_has_the_order_and_a_token_for_it(self, shop: GuestShop) -> None:
        first = await shop.order(name="Ada")

        again = await shop.order(first.email, key=first.key, name="Ada", lines=first.body["lines"])

        assert (again.id, again.answer.headers["idempotency-replayed"]) == (first.id, "true")
        assert (await shop.get(f"/v1/orders/{first.id}", again.headers)).status_code == 200

    async def test_who_knows_the_key_and_not_the_request_gets_nothing(self, shop: GuestShop) -> None:
        first = await shop.order()

        other = await shop.order(first.email, key=first.key)

        assert problem(other.answer) == (422, "idempotency-key-reused")
        assert "access_token" not in other.answer.json()

    async def test_the_key_is_the_address_own(self, shop: GuestShop) -> None:
        first = await shop.order()

        other = await shop.order(key=first.key, lines=first.body["lines"])

        assert other.answer.status_code == 202
        assert other.id != first.id
        assert "idempotency-replayed" not in other.answer.headers

    async def test_a_key_that_can_be_guessed_is_refused(self, shop: GuestShop) -> None:
        refused = (await shop.order(key="first-order")).answer

        assert problem(refused) == (400, "validation")
        assert [error["field"] for error in refused.json()["errors"]] == ["Idempotency-Key"]


async def test_the_unpaid_orders_of_an_address_are_few_in_whatever_case_it_is_written(shop: GuestShop) -> None:
    email = f"guest-{new_id()}@example.test"
    for written in (email, email.upper(), email.title()):
        assert (await shop.order(written)).answer.status_code == 202

    assert problem((await shop.order(email)).answer) == (409, "too-many-open-orders")
    units = [{"product_id": new_id(), "quantity": 51}]
    assert problem((await shop.order(lines=units)).answer) == (409, "too-many-held-units")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "ada"),
        ("email", "ada@example.test\r\nBcc: x@example.test"),
        ("name", "www.example.test"),
        ("name", "‮"),
    ],
)
async def test_what_no_mail_may_hold_is_refused_by_its_field(shop: GuestShop, field: str, value: str) -> None:
    headers = {"Idempotency-Key": new_id()}
    body = order_body(**{"email": "ada@example.test", field: value})
    refused = await shop.http.post("/v1/guest-orders", json=body, headers=headers)

    assert problem(refused) == (400, "validation")
    assert [error["field"] for error in refused.json()["errors"]] == [field]


class TestMails:
    async def test_until_the_order_is_paid_the_address_gets_one_mail_that_greets_nobody(self, shop: GuestShop) -> None:
        placed = await shop.order(name="Ada")
        await shop.mark_pending(placed)

        [first] = await shop.deliver(placed)

        assert "\nHello,\n" in f"\n{first.text}"
        assert "somebody who gave this address" in first.text
        assert "Ada" not in first.text
        read = await shop.get(f"/v1/orders/{placed.id}", with_token(token_in(first)))
        assert read.json()["number"] == placed.order["number"]
        await shop.close(placed, OrderStatus.PAID)
        [_, receipt] = await shop.deliver(placed)
        assert receipt.subject.startswith("Your receipt")
        assert "Hello Ada,\n" in receipt.text
        assert token_in(receipt)

    @pytest.mark.parametrize(
        ("status", "reason", "mails"),
        [
            (OrderStatus.CANCELLED, "CUSTOMER", 1),
            (OrderStatus.CANCELLED, "SUPPORT", 2),
            (OrderStatus.FAILED, "PAYMENT_TIMEOUT", 1),
            (OrderStatus.FAILED, "STOCK_LOST", 2),
        ],
    )
    async def test_an_end_is_told_where_money_had_come_or_the_shop_brought_it_about(
        self, shop: GuestShop, status: OrderStatus, reason: str, mails: int
    ) -> None:
        placed = await shop.order()
        await shop.mark_pending(placed)
        await shop.close(placed, status, reason=reason)

        assert len(await shop.deliver(placed)) == mails

    async def test_no_event_names_the_address(self, shop: GuestShop) -> None:
        placed = await shop.paid()

        rows = await fetch_rows(shop.gateway.order.database, "SELECT data FROM outbox WHERE key = %(id)s", id=placed.id)

        assert len(rows) == 3
        assert not any(placed.email in data for (data,) in rows)


class TestLostLink:
    async def ask(self, shop: GuestShop, number: str, email: str) -> httpx.Response:
        answer = await shop.http.post("/v1/guest-links", json={"number": number, "email": email})
        await shop.gateway.order.guest_links.process_due()
        await shop.gateway.notification.sender.process_due()
        return answer

    async def test_it_is_mailed_to_the_address_of_the_order_alone_and_all_answers_are_alike(
        self, shop: GuestShop
    ) -> None:
        placed, other = await shop.order(), await shop.order()
        number = placed.order["number"]

        right = await self.ask(shop, number.lower().replace("-", ""), placed.email.upper())
        wrong = await self.ask(shop, number, other.email)
        unknown = await self.ask(shop, "0000-0000", placed.email)

        for answer in (right, wrong, unknown):
            assert (answer.status_code, answer.json()) == (202, {})
        [mail] = shop.mailbox.to(placed.email)
        assert number in mail.text
        assert (await shop.get(f"/v1/orders/{placed.id}", with_token(token_in(mail)))).status_code == 200
        assert shop.mailbox.to(other.email) == []

    async def test_there_is_none_any_more_a_month_after_the_order_has_ended(self, shop: GuestShop) -> None:
        placed = await shop.paid()
        async with shop.gateway.order.database.autocommit() as connection:
            await connection.execute(
                "UPDATE order_transitions SET at = at - interval '31 days' WHERE order_id = %(id)s", id=placed.id
            )

        await self.ask(shop, placed.order["number"], placed.email)

        assert shop.mailbox.to(placed.email) == []


class TestErasure:
    async def erase(self, shop: GuestShop, order_id: str, headers: Mapping[str, str]) -> httpx.Response:
        return await shop.http.delete(f"/v1/orders/{order_id}/guest", headers=dict(headers))

    async def test_a_guest_is_forgotten_once_the_order_has_ended(self, shop: GuestShop) -> None:
        placed = await shop.order(name="Ada")
        assert problem(await self.erase(shop, placed.id, placed.headers)) == (409, "order-still-open")
        await shop.mark_pending(placed)
        await shop.close(placed, OrderStatus.PAID)

        for _ in range(2):
            assert (await self.erase(shop, placed.order["number"], placed.headers)).status_code == 204

        order = (await shop.get(f"/v1/orders/{placed.id}", ADMIN)).json()
        assert (order["guest_email"], order["shipping_address"]["name"]) == (None, None)
        assert order["shipping_address"]["country"] == "DE"
        rows = await fetch_rows(
            shop.gateway.order.database,
            "SELECT email, name, erased_by FROM guests WHERE order_id = %(id)s",
            id=placed.id,
        )
        [(email, name, erased_by)] = rows
        assert (email, name, erased_by.partition(":")[0]) == (None, "", "guest")
        assert await shop.deliver(placed) == []

    async def test_staff_may_erase_them_and_nobody_else(self, shop: GuestShop) -> None:
        placed = await shop.paid()
        _, customer = await sign_up(shop.gateway)

        assert problem(await self.erase(shop, placed.id, customer)) == (403, "forbidden")
        assert problem(await self.erase(shop, placed.id, guest_bearer(new_id()))) == (404, "not-found")
        assert (await self.erase(shop, placed.id, SUPPORT)).status_code == 204

    async def test_an_accounts_order_has_no_guest(self, shop: GuestShop) -> None:
        _, customer = await sign_up(shop.gateway)
        headers = {"Idempotency-Key": new_id(), **customer}
        order_id = (await shop.http.post("/v1/orders", json=order_body(), headers=headers)).json()["id"]

        assert problem(await self.erase(shop, order_id, ADMIN)) == (409, "order-has-no-guest")
