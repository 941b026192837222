"""What the order service takes for a guest's order, whoever asks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from domain.ids import new_id
from domain.refusals import Refusal
from ordersaga.common.v1.order_line_pb2 import OrderLine
from ordersaga.order.v1 import order_pb2 as pb
from ordersaga.order.v1.order_pb2_grpc import OrderServiceStub
from runtime.caller import SERVICE
from runtime.refusal import CallRefused
from runtime.settings import Settings
from services.order.bootstrap import bootstrap
from services.order.server import grpc_service
from tests.support.identities import tls_settings
from tests.support.recorded_sagas import RecordedSagas
from tests.support.rpc import call, channel_to


@asynccontextmanager
async def order_service(databases: Mapping[str, str], **changes: object) -> AsyncIterator[OrderServiceStub]:
    """The service, alone: nobody who signs tokens is there."""
    settings = Settings.model_validate({"order_dsn": databases["order"], **tls_settings(), **changes})
    async with (
        bootstrap(settings, sagas=RecordedSagas()) as components,
        components.listener,
        channel_to(grpc_service(components)) as channel,
    ):
        yield OrderServiceStub(channel)


def request(*, key: str = "", email: str = "ada@example.test", name: str = "") -> pb.CreateGuestOrderRequest:
    order = pb.CreateOrderRequest(
        idempotency_key=key or new_id(),
        lines=[OrderLine(product_id=new_id(), quantity=1)],
        currency="EUR",
        shipping_address=pb.Address(name="Ada", line1="1 Street", city="Town", postal_code="12345", country="DE"),
    )
    return pb.CreateGuestOrderRequest(order=order, email=email, name=name)


async def test_there_are_no_guests_unless_the_shop_says_so(databases: Mapping[str, str]) -> None:
    async with order_service(databases) as orders:
        with pytest.raises(CallRefused) as caught:
            await call(orders.CreateGuestOrder, request(), caller=SERVICE)

    assert caught.value.refusal is Refusal.GUEST_CHECKOUT_OFF


async def test_the_order_is_worth_an_answer_without_a_token(databases: Mapping[str, str]) -> None:
    async with order_service(databases, guest_checkout=True) as orders:
        placed = await call(orders.CreateGuestOrder, request(), caller=SERVICE)

    assert (placed.order.is_guest, placed.token, placed.HasField("token_expires_at")) == (True, "", False)


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (request(key="first-order"), "idempotency_key"),
        (request(email="ada"), "email"),
        (request(email=""), "email"),
        (request(name="www.example.test"), "name"),
    ],
    ids=["key", "email", "no email", "name"],
)
async def test_what_is_wrong_is_named(
    databases: Mapping[str, str], bad: pb.CreateGuestOrderRequest, field: str
) -> None:
    async with order_service(databases, guest_checkout=True) as orders:
        with pytest.raises(CallRefused) as caught:
            await call(orders.CreateGuestOrder, bad, caller=SERVICE)

    assert caught.value.refusal is Refusal.INVALID_ARGUMENT
    assert list(caught.value.details) == [field]
