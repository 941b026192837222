"""What products are called in mails: as they are called now, or were a minute ago."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest
import pytest_asyncio

from domain.ids import new_id
from ordersaga.product.v1.product_pb2 import CreateProductRequest, UpdateProductRequest
from runtime.caller import Caller, CallerRole
from services.notification.directory import NAME_SECONDS, Directory
from tests.support.gateway import Gateway, gateway_with_services
from tests.support.notification_sink import QueuedSms
from tests.support.rpc import call

ADMIN = Caller(CallerRole.ADMIN, new_id())


@pytest_asyncio.fixture(scope="module")
async def gateway(databases: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    stripe_data = tmp_path_factory.mktemp("stripe")
    async with gateway_with_services(databases, stripe_data=stripe_data, sms=QueuedSms()) as gateway:
        yield gateway


async def test_a_product_has_its_old_name_for_a_minute_at_most(gateway: Gateway) -> None:
    now = 1_000.0
    products = gateway.services.product
    directory = Directory(
        users=gateway.services.user, products=products, orders=gateway.services.order, deadline=5, clock=lambda: now
    )
    created = await call(
        products.CreateProduct,
        CreateProductRequest(name="Cup", unit_price=1250, currency="EUR"),
        caller=ADMIN,
        deadline=5,
    )
    cup, unknown = created.product.id, new_id()
    names = [await directory.product_names([cup, unknown])]
    await call(products.UpdateProduct, UpdateProductRequest(product_id=cup, name="Mug"), caller=ADMIN, deadline=5)

    now += NAME_SECONDS - 1
    names.append(await directory.product_names([unknown, cup]))
    now += 1
    names.append(await directory.product_names([cup]))

    assert names == [{cup: "Cup"}, {cup: "Cup"}, {cup: "Mug"}]
