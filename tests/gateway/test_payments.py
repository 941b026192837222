"""Payments over HTTP, on the real payment service and the Stripe double."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest
import pytest_asyncio

from domain.ids import new_id
from ordersaga.payment.v1 import payment_pb2 as pb
from runtime.caller import ANONYMOUS, SERVICE, Caller, CallerRole
from runtime.refusal import CallRefused
from tests.support.gateway import Gateway, gateway_with_services
from tests.support.identities import bearer
from tests.support.rpc import call


@pytest_asyncio.fixture(scope="module")
async def gateway(databases: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    async with gateway_with_services(databases, stripe_data=tmp_path_factory.mktemp("stripe")) as gateway:
        yield gateway


async def open_payment(gateway: Gateway, *, user_id: str, payment_method: str = "") -> pb.Payment:
    request = pb.OpenPaymentRequest(
        order_id=new_id(), user_id=user_id, amount=2_599, currency="EUR", payment_method=payment_method
    )
    return (await call(gateway.services.payment.OpenPayment, request, caller=SERVICE, deadline=10)).payment


@pytest.mark.parametrize(
    ("payment_method", "status", "received", "failed"),
    [
        ("", "REQUIRES_PAYMENT_METHOD", 0, 0),
        ("pm_card_visa", "SUCCEEDED", 2_599, 0),
        ("pm_card_chargeDeclined", "REQUIRES_PAYMENT_METHOD", 0, 1),
        ("pm_card_authenticationRequired", "REQUIRES_ACTION", 0, 0),
    ],
)
async def test_the_owner_and_an_admin_read_where_a_payment_stands(
    gateway: Gateway, payment_method: str, status: str, received: int, failed: int
) -> None:
    owner = new_id()
    payment = await open_payment(gateway, user_id=owner, payment_method=payment_method)

    answers = [
        await gateway.http.get(f"/v1/payments/{payment.id}", headers=headers)
        for headers in (bearer(CallerRole.CUSTOMER, owner), bearer(CallerRole.ADMIN))
    ]

    for answer in answers:
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
        assert answer.json() == {
            "id": payment.id,
            "order_id": payment.order_id,
            "status": status,
            "currency": "EUR",
            "amount": 2_599,
            "amount_received": received,
            "amount_refunded": 0,
            "amount_refundable": received,
            "failed_attempts": failed,
            "disputes": [],
        }


async def test_what_was_refunded_shows(gateway: Gateway) -> None:
    owner = new_id()
    payment = await open_payment(gateway, user_id=owner, payment_method="pm_card_visa")
    request = pb.VoidPaymentRequest(order_id=payment.order_id)
    await call(gateway.services.payment.VoidPayment, request, caller=SERVICE, deadline=10)
    due = await call(
        gateway.services.payment.ListRefunds,
        pb.ListRefundsRequest(order_id=payment.order_id),
        caller=Caller(CallerRole.ADMIN, new_id()),
        deadline=10,
    )
    carry_out = pb.CarryOutRefundRequest(refund_id=due.refunds[0].id)
    await call(gateway.services.payment.CarryOutRefund, carry_out, caller=SERVICE, deadline=10)

    answer = await gateway.http.get(f"/v1/payments/{payment.id}", headers=bearer(CallerRole.CUSTOMER, owner))

    assert (answer.json()["amount_received"], answer.json()["amount_refunded"]) == (2_599, 2_599)


async def test_anothers_payment_answers_exactly_like_a_missing_one(gateway: Gateway) -> None:
    payment_id = (await open_payment(gateway, user_id=new_id())).id
    missing_id = new_id()
    stranger = bearer(CallerRole.CUSTOMER)

    others = await gateway.http.get(f"/v1/payments/{payment_id}", headers=stranger)
    missing = await gateway.http.get(f"/v1/payments/{missing_id}", headers=stranger)

    assert (others.status_code, others.json()["type"]) == (404, "urn:ordersaga:problem:not-found")
    assert others.text.replace(payment_id, missing_id) == missing.text
    assert others.headers.keys() == missing.headers.keys()


async def test_a_payment_is_named_by_its_own_id_alone(gateway: Gateway) -> None:
    payment = await open_payment(gateway, user_id=new_id())
    admin = bearer(CallerRole.ADMIN)

    by_order = await gateway.http.get(f"/v1/payments/{payment.order_id}", headers=admin)
    malformed = await gateway.http.get("/v1/payments/pi_1", headers=admin)

    assert by_order.status_code == 404
    assert malformed.status_code == 400
    assert [fault["field"] for fault in malformed.json()["errors"]] == ["payment_id"]


async def test_nobody_reads_a_payment_without_a_token(gateway: Gateway) -> None:
    payment_id = (await open_payment(gateway, user_id=new_id())).id

    answer = await gateway.http.get(f"/v1/payments/{payment_id}")
    with pytest.raises(CallRefused):
        await call(
            gateway.services.payment.GetPayment,
            pb.GetPaymentRequest(payment_id=payment_id),
            caller=ANONYMOUS,
            deadline=5,
        )

    assert answer.status_code == 401
