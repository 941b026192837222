"""What was ordered without an account becomes the account's whose holder has proved that they read the address."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import psycopg
import pytest
import pytest_asyncio

from domain.ids import new_id
from domain.orders import OrderStatus
from ordersaga.payment.v1 import payment_pb2
from runtime.caller import SERVICE, CallerRole
from tests.support.guest_shop import PRICE, GuestShop, Placed, open_guest_shop
from tests.support.identities import bearer
from tests.support.rows import fetch_rows
from tests.support.rpc import call


@pytest_asyncio.fixture(scope="module")
async def shop(databases: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GuestShop]:
    async with open_guest_shop(databases, tmp_path_factory.mktemp("stripe")) as shop:
        yield shop


@pytest.fixture
def email() -> str:
    return f"guest-{new_id()}@example.test"


async def customers_of(shop: GuestShop, placed: Placed) -> tuple[str, str]:
    """Whose the order is, and whose its payment."""
    order = await shop.gateway.order.orders.get(placed.id, caller=SERVICE)
    async with await psycopg.AsyncConnection.connect(shop.payments) as connection:
        cursor = await connection.execute("SELECT user_id::text FROM payments WHERE order_id = %s", (placed.id,))
        [(payer,)] = await cursor.fetchall()
    return order.user_id, payer


async def be_looked_for(shop: GuestShop, placed: Placed) -> None:
    """Let the moment come at which a new order is looked at."""
    async with shop.gateway.order.database.autocommit() as connection:
        await connection.execute("UPDATE guests SET next_attempt_at = now() WHERE order_id = %(id)s", id=placed.id)
    await shop.gateway.order.guest_looks.process_due()


async def test_an_account_has_the_orders_of_its_address_once_that_is_confirmed(shop: GuestShop, email: str) -> None:
    placed, other = await shop.paid(email.upper()), await shop.paid()
    guest = await customers_of(shop, placed)
    user_id, headers = await shop.sign_up(email)
    await shop.adopt()
    await be_looked_for(shop, placed)
    assert (await shop.numbers_of(headers), await customers_of(shop, placed)) == ([], guest)

    await shop.confirm(user_id)
    await shop.adopt()

    assert await shop.numbers_of(headers) == [placed.order["number"]]
    assert await customers_of(shop, placed) == (user_id, user_id)
    assert user_id not in await customers_of(shop, other)
    order = (await shop.get(f"/v1/orders/{placed.id}?expand=payment,refunds,timeline", headers)).json()
    assert (order["status"], order["guest_email"], order["payment"]["order_id"]) == ("PAID", None, placed.id)
    rows = await fetch_rows(
        shop.gateway.order.database,
        "SELECT email, adopted_at IS NOT NULL FROM guests WHERE order_id = %(id)s",
        id=placed.id,
    )
    assert rows == [(None, True)]


async def test_it_is_done_once_whatever_is_repeated(shop: GuestShop, email: str) -> None:
    placed = await shop.paid(email)
    user_id, headers = await shop.sign_up(email)
    await shop.confirm(user_id)
    await shop.adopt()
    thief, thiefs = await shop.sign_up(f"thief-{email}")
    async with shop.gateway.user.database.autocommit() as connection:  # the address changes hands
        await connection.execute("UPDATE users SET email = 'left-' || email WHERE id = %(id)s", id=user_id)
        await connection.execute(
            "UPDATE users SET email = %(email)s, confirmed_at = now() WHERE id = %(id)s", email=email, id=thief
        )

    await shop.gateway.order.guests.adopt_orders(email)
    await shop.adopt()

    assert await customers_of(shop, placed) == (user_id, user_id)
    assert await shop.numbers_of(thiefs) == []
    assert await shop.numbers_of(headers) == [placed.order["number"]]


async def test_what_is_ordered_with_a_confirmed_address_is_found_by_itself(shop: GuestShop, email: str) -> None:
    user_id, headers = await shop.sign_up(email)
    await shop.confirm(user_id)
    placed = await shop.order(email)

    await be_looked_for(shop, placed)
    assert await shop.numbers_of(headers) == []  # its payment is not there yet
    await shop.mark_pending(placed)
    await be_looked_for(shop, placed)

    assert await shop.numbers_of(headers) == [placed.order["number"]]
    assert await customers_of(shop, placed) == (user_id, user_id)


async def test_the_saga_goes_on_with_the_customer_that_it_began_with(shop: GuestShop, email: str) -> None:
    placed = await shop.order(email)
    await shop.mark_pending(placed)
    guest_id, _ = await customers_of(shop, placed)
    user_id, headers = await shop.sign_up(email)
    await shop.confirm(user_id)
    await shop.adopt()

    for customer in (guest_id, user_id):  # of a repeated step, and of a run that was started anew
        request = payment_pb2.OpenPaymentRequest(order_id=placed.id, user_id=customer, amount=PRICE, currency="EUR")
        await call(shop.gateway.services.payment.OpenPayment, request, caller=SERVICE)
    await shop.close(placed, OrderStatus.PAID)

    assert (await shop.get(f"/v1/orders/{placed.id}", headers)).json()["status"] == "PAID"


async def test_the_guests_token_goes_on_working_and_mails_go_to_the_account(shop: GuestShop, email: str) -> None:
    placed = await shop.order(email)
    await shop.mark_pending(placed)
    user_id, _ = await shop.sign_up(email)
    await shop.confirm(user_id)
    await shop.adopt()
    await shop.close(placed, OrderStatus.PAID)

    assert (await shop.get(f"/v1/orders/{placed.id}", placed.headers)).json()["status"] == "PAID"
    mails = await shop.deliver(placed)
    assert [mail.recipient.name for mail in mails] == ["", "Ada"]
    assert not any("#order=" in mail.text for mail in mails)  # who has an account logs in


async def test_the_account_is_erased_with_what_it_adopted(shop: GuestShop, email: str) -> None:
    placed = await shop.paid(email)
    user_id, _ = await shop.sign_up(email)
    await shop.confirm(user_id)
    await shop.adopt()

    await shop.http.delete(f"/v1/users/{user_id}", headers=bearer(CallerRole.ADMIN))
    await shop.gateway.user.erasing.process_due()

    order = (await shop.get(f"/v1/orders/{placed.id}", bearer(CallerRole.ADMIN))).json()
    assert (order["shipping_address"]["name"], order["guest_email"]) == (None, None)


async def test_what_dies_in_the_middle_is_done_again(shop: GuestShop, email: str) -> None:
    placed = await shop.paid(email)
    async with shop.gateway.order.database.autocommit() as connection:
        await connection.execute("UPDATE guests SET looked_at = now() WHERE email IS NOT NULL")
    user_id, headers = await shop.sign_up(email)
    await shop.confirm(user_id)
    await shop.gateway.user.adopting.process_due()

    # whoever dies behind the payment leaves an order that is looked at again
    request = payment_pb2.AdoptPaymentRequest(order_id=placed.id, user_id=user_id)
    await call(shop.gateway.services.payment.AdoptPayment, request, caller=SERVICE)
    assert await shop.numbers_of(headers) == []
    await shop.gateway.order.guest_looks.process_due()

    assert await shop.numbers_of(headers) == [placed.order["number"]]
    assert await customers_of(shop, placed) == (user_id, user_id)
