"""Refunds over HTTP, on the real order and payment services; tests do what a refund's saga would."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest
import pytest_asyncio

from domain.ids import new_id
from ordersaga.payment.v1 import payment_pb2 as pb
from runtime.caller import SERVICE, CallerRole
from tests.support.gateway import Gateway, gateway_with_services, sign_up
from tests.support.gateway_orders import AT_ONCE, PROBLEM, Bought, buy, pay, problem, refund
from tests.support.identities import bearer
from tests.support.rpc import call


@pytest_asyncio.fixture(scope="module")
async def gateway(databases: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    async with gateway_with_services(databases, stripe_data=tmp_path_factory.mktemp("stripe")) as gateway:
        yield gateway


@pytest.fixture
def admin() -> dict[str, str]:
    return bearer(CallerRole.ADMIN)


@pytest_asyncio.fixture
async def bought(gateway: Gateway) -> Bought:
    return await buy(gateway)


@pytest_asyncio.fixture
async def paid(gateway: Gateway, bought: Bought) -> Bought:
    """It has paid 25.00 EUR."""
    return await pay(gateway, bought)


async def carry_out(gateway: Gateway, refund_id: str) -> None:
    """What the refund's saga does."""
    payments = gateway.services.payment
    request = pb.CarryOutRefundRequest(refund_id=refund_id)
    refund = (await call(payments.CarryOutRefund, request, caller=SERVICE, deadline=10)).refund
    closing = pb.CloseRefundRequest(refund_id=refund_id, version=refund.version)
    await call(payments.CloseRefund, closing, caller=SERVICE, deadline=10)


async def listed(gateway: Gateway, bought: Bought, headers: dict[str, str] | None = None) -> list[dict[str, Any]]:
    answer = await gateway.http.get(f"/v1/orders/{bought.order_id}/refunds", headers=headers or bought.headers)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def test_a_refund_is_asked_for_and_seen(gateway: Gateway, paid: Bought, admin: dict[str, str]) -> None:
    asked = await refund(
        gateway,
        paid.order_id,
        admin,
        amount=1_000,
        restock=[{"product_id": paid.product_id, "quantity": 1}],
        note="too small",
    )

    assert asked.status_code == 202
    assert asked.headers["Location"] == f"/v1/orders/{paid.order_id}/refunds"
    assert asked.headers["Retry-After"] == "1"
    body = asked.json()
    assert (body["status"], body["origin"], body["amount"], body["currency"]) == ("REQUESTED", "ADMIN", 1_000, "EUR")
    assert body["restock"] == [{"product_id": paid.product_id, "quantity": 1}]
    assert "note" not in body
    assert [item["id"] for item in await listed(gateway, paid)] == [body["id"]]

    await carry_out(gateway, body["id"])
    [item] = await listed(gateway, paid)
    assert item == {**body, "status": "SUCCEEDED"}


async def test_without_an_amount_all_that_is_left_is_refunded(
    gateway: Gateway, paid: Bought, admin: dict[str, str]
) -> None:
    await refund(gateway, paid.order_id, admin, amount=900)

    assert (await refund(gateway, paid.order_id, admin)).json()["amount"] == 1_600


async def test_an_answer_waits_for_what_comes_of_it(gateway: Gateway, paid: Bought, admin: dict[str, str]) -> None:
    async def saga() -> None:
        async with asyncio.timeout(10):
            while True:
                if items := await listed(gateway, paid):
                    return await carry_out(gateway, items[0]["id"])
                await asyncio.sleep(0.02)

    asked, _ = await asyncio.gather(refund(gateway, paid.order_id, {**admin, "Prefer": "wait=10"}), saga())

    assert asked.status_code == 201
    assert asked.json()["status"] == "SUCCEEDED"


async def test_a_repeat_answers_as_the_first_time_also_when_nothing_is_left(
    gateway: Gateway, paid: Bought, admin: dict[str, str]
) -> None:
    key = new_id()
    first = await refund(gateway, paid.order_id, admin, key=key)
    await carry_out(gateway, first.json()["id"])

    again = await refund(gateway, paid.order_id, admin, key=key)

    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (202, "true")
    assert again.json() == {**first.json(), "status": "SUCCEEDED"}
    assert len(await listed(gateway, paid)) == 1


async def test_concurrent_duplicates_make_one_refund(gateway: Gateway, paid: Bought, admin: dict[str, str]) -> None:
    key = new_id()

    answers = await asyncio.gather(*(refund(gateway, paid.order_id, admin, key=key, amount=400) for _ in range(6)))

    assert len({answer.json()["id"] for answer in answers}) == 1
    assert [answer.status_code for answer in answers] == [202] * 6
    assert len(await listed(gateway, paid)) == 1


async def test_a_key_stands_for_one_request(gateway: Gateway, paid: Bought, admin: dict[str, str]) -> None:
    key = new_id()
    await refund(gateway, paid.order_id, admin, key=key, amount=400)

    assert problem(await refund(gateway, paid.order_id, admin, key=key, amount=500)) == (422, "idempotency-key-reused")


async def test_more_than_is_left_is_not_refunded(gateway: Gateway, paid: Bought, admin: dict[str, str]) -> None:
    await refund(gateway, paid.order_id, admin, amount=2_000)

    refused = await refund(gateway, paid.order_id, admin, amount=501)

    assert problem(refused) == (409, "refund-exceeds-payment")
    assert "5.00 EUR is left" in refused.json()["detail"]
    assert len(await listed(gateway, paid)) == 1


async def test_units_come_back_once(gateway: Gateway, paid: Bought, admin: dict[str, str]) -> None:
    one = [{"product_id": paid.product_id, "quantity": 1}]
    await refund(gateway, paid.order_id, admin, amount=100, restock=one)

    assert problem(await refund(gateway, paid.order_id, admin, amount=100, restock=one)) == (
        409,
        "restock-exceeds-order",
    )
    other = [{"product_id": new_id(), "quantity": 1}]
    assert problem(await refund(gateway, paid.order_id, admin, amount=100, restock=other)) == (
        409,
        "restock-exceeds-order",
    )


async def test_what_was_not_paid_is_not_refunded(gateway: Gateway, bought: Bought, admin: dict[str, str]) -> None:
    assert problem(await refund(gateway, bought.order_id, admin)) == (409, "order-not-refundable")
    assert await listed(gateway, bought) == []

    request = pb.OpenPaymentRequest(order_id=bought.order_id, user_id=bought.user_id, amount=2_500, currency="EUR")
    await call(gateway.services.payment.OpenPayment, request, caller=SERVICE, deadline=10)
    assert problem(await refund(gateway, bought.order_id, admin)) == (409, "order-not-refundable")


async def test_money_that_goes_back_already_is_not_refunded(
    gateway: Gateway, paid: Bought, admin: dict[str, str]
) -> None:
    request = pb.VoidPaymentRequest(order_id=paid.order_id)
    await call(gateway.services.payment.VoidPayment, request, caller=SERVICE, deadline=10)

    assert problem(await refund(gateway, paid.order_id, admin)) == (409, "order-not-refundable")
    assert [(item["origin"], item["amount"]) for item in await listed(gateway, paid)] == [("VOID", 2_500)]


async def test_only_an_admin_refunds_and_only_its_owner_and_admins_see_it(
    gateway: Gateway, paid: Bought, admin: dict[str, str]
) -> None:
    _, stranger = await sign_up(gateway)
    await refund(gateway, paid.order_id, admin, amount=100)

    assert problem(await refund(gateway, paid.order_id, paid.headers)) == (403, "forbidden")
    assert problem(await refund(gateway, paid.order_id, {})) == (401, "missing-token")
    assert problem(await gateway.http.get(f"/v1/orders/{paid.order_id}/refunds", headers=stranger)) == (
        404,
        "not-found",
    )
    assert len(await listed(gateway, paid, admin)) == 1


async def test_an_order_that_does_not_exist_is_not_refunded(gateway: Gateway, admin: dict[str, str]) -> None:
    assert problem(await refund(gateway, new_id(), admin)) == (404, "not-found")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"amount": 0}, "amount"),
        ({"amount": -5}, "amount"),
        ({"amount": 1.5}, "amount"),
        ({"amount": "5"}, "amount"),
        ({"restock": [{"product_id": "none", "quantity": 1}]}, "restock[0].product_id"),
        ({"restock": [{"product_id": "01890000-0000-7000-8000-000000000000", "quantity": 0}]}, "restock[0].quantity"),
        ({"note": ""}, "note"),
        ({"much": 5}, "much"),
    ],
)
async def test_a_bad_request_names_its_fault(
    gateway: Gateway, paid: Bought, admin: dict[str, str], body: dict[str, Any], field: str
) -> None:
    refused = await refund(gateway, paid.order_id, admin, **body)

    assert problem(refused) == (400, "validation")
    assert [fault["field"] for fault in refused.json()["errors"]] == [field]
    assert await listed(gateway, paid) == []


async def test_a_key_is_needed(gateway: Gateway, paid: Bought, admin: dict[str, str]) -> None:
    answer = await gateway.http.post(f"/v1/orders/{paid.order_id}/refunds", json={}, headers=admin)

    assert problem(answer) == (400, "idempotency-key-missing")


async def test_a_disputed_payment_shows_its_dispute(gateway: Gateway, bought: Bought, admin: dict[str, str]) -> None:
    request = pb.OpenPaymentRequest(
        order_id=bought.order_id,
        user_id=bought.user_id,
        amount=2_500,
        currency="EUR",
        payment_method="pm_card_createDispute",
    )
    payment = (await call(gateway.services.payment.OpenPayment, request, caller=SERVICE, deadline=10)).payment
    refused = await refund(gateway, bought.order_id, admin)
    with pytest.raises(Exception, match="disputed"):  # Stripe knows of the dispute, and no event has told us
        await carry_out(gateway, refused.json()["id"])

    shown = (await gateway.http.get(f"/v1/payments/{payment.id}", headers=bought.headers)).json()
    [dispute] = shown["disputes"]
    assert (dispute["status"], dispute["amount"], dispute["withdrawn"]) == ("NEEDS_RESPONSE", 2_500, 2_500)
    assert problem(await refund(gateway, bought.order_id, admin, amount=5)) == (409, "payment-disputed")


async def test_support_refunds_up_to_a_limit_over_all_parts_and_an_admin_the_rest(
    gateway: Gateway, paid: Bought, admin: dict[str, str]
) -> None:
    async def refund(amount: int, headers: dict[str, str]) -> httpx.Response:
        return await gateway.http.post(
            f"/v1/orders/{paid.order_id}/refunds",
            json={"amount": amount},
            headers={"Idempotency-Key": new_id(), **headers, **AT_ONCE},
        )

    answers = [await refund(600, bearer(CallerRole.SUPPORT)) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [202, 403]
    assert answers[1].json()["type"] == f"{PROBLEM}refund-needs-admin"
    assert "support may give back 4.00 EUR more" in answers[1].json()["detail"]
    assert (await refund(600, admin)).status_code == 202
