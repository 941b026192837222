"""Orders that were placed at the gateway and paid, and what is asked about their money."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

from domain.ids import new_id
from ordersaga.payment.v1 import payment_pb2 as pb
from runtime.caller import SERVICE
from tests.support.gateway import Gateway, order_body, sign_up
from tests.support.rpc import call

AT_ONCE = {"Prefer": "wait=0"}
PROBLEM = "urn:ordersaga:problem:"


@dataclass(frozen=True, slots=True)
class Bought:
    """An order of one unit of one product, and its customer."""

    order_id: str
    product_id: str
    user_id: str
    headers: dict[str, str]


async def buy(gateway: Gateway) -> Bought:
    """A new customer's order, which nobody has paid."""
    user_id, headers = await sign_up(gateway)
    product_id = new_id()
    placed = await gateway.http.post(
        "/v1/orders",
        json=order_body(product_id),
        headers={"Idempotency-Key": new_id(), **headers, **AT_ONCE},
    )
    return Bought(placed.json()["id"], product_id, user_id, headers)


async def pay(gateway: Gateway, bought: Bought) -> Bought:
    """The order once it has paid 25.00 EUR."""
    request = pb.OpenPaymentRequest(
        order_id=bought.order_id,
        user_id=bought.user_id,
        amount=2_500,
        currency="EUR",
        payment_method="pm_card_visa",
    )
    opened = await call(gateway.services.payment.OpenPayment, request, caller=SERVICE, deadline=10)
    assert opened.payment.status == pb.PAYMENT_STATUS_SUCCEEDED
    return bought


async def refund(
    gateway: Gateway, order_id: str, headers: dict[str, str], *, key: str | None = None, **body: Any
) -> httpx.Response:
    """Somebody asks for a refund, with a key of its own unless one is given."""
    return await gateway.http.post(
        f"/v1/orders/{order_id}/refunds",
        json=body,
        headers={"Idempotency-Key": key or new_id(), **AT_ONCE, **headers},
    )


def problem(answer: httpx.Response) -> tuple[int, str]:
    """Status and name of what a request was refused with."""
    return answer.status_code, answer.json()["type"].removeprefix(PROBLEM)
