"""Fault 10 of the Go system, shown gone: no health, deadlines, retries, graceful stop, migrations or traces.

That a step of an order is tried again until it gets through is shown on the running stack, in `tests/chaos/`.
"""

from __future__ import annotations

import asyncio
import importlib
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx
import psycopg
import pytest
import pytest_asyncio
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from sqlalchemy import create_engine

import migrations
from api.app import create_app
from api.services import open_services
from domain.ids import new_id
from migrations.runner import SERVICES
from ordersaga.common.v1.order_line_pb2 import OrderLine
from ordersaga.inventory.v1.inventory_pb2 import ReserveRequest
from ordersaga.payment.v1.payment_pb2 import OpenPaymentRequest
from ordersaga.product.v1 import product_pb2 as pb
from ordersaga.product.v1.product_pb2_grpc import ProductServiceStub, add_ProductServiceServicer_to_server
from runtime.caller import SERVICE, CallerRole
from runtime.database import sqlalchemy_url
from runtime.health import Checks, Health
from runtime.identity import Part
from runtime.permissions import allow
from runtime.rpc_server import GrpcService, RpcServer
from runtime.settings import Settings
from services.product.server import ProductServicer
from tests.support.gateway import NOWHERE, Gateway, gateway_with_services, order_body, sign_up
from tests.support.identities import VERIFIER, bearer, tls_settings
from tests.support.notification_sink import running_sink, send_all, sending_service
from tests.support.rpc import call, make_server, open_callers

ADMIN = bearer(CallerRole.ADMIN)
PRODUCT_SERVICE = "ordersaga.product.v1.ProductService"
SHORT_DEADLINE = 0.2
TIMEOUT = 20.0


@pytest_asyncio.fixture(scope="module")
async def gateway(databases: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    async with gateway_with_services(databases, stripe_data=tmp_path_factory.mktemp("stripe")) as gateway:
        yield gateway


class SlowCatalogue(ProductServicer):
    """Stands where the product service does: has each request, and answers when it may."""

    def __init__(self) -> None:  # without the components of the real one, none of whose methods is called
        self.asked = asyncio.Event()
        self.given_up = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.answered = asyncio.Event()

    @allow(Part.NOTIFICATION)
    async def GetProduct(  # noqa: N802 - gRPC's
        self, request: pb.GetProductRequest, context: Any
    ) -> pb.GetProductResponse:
        context.add_done_callback(lambda _: self.given_up.set())
        self.asked.set()
        await self.may_answer.wait()
        self.answered.set()
        return pb.GetProductResponse(product=pb.Product(id=request.product_id))


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of somebody who takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        yield f"127.0.0.1:{bound.getsockname()[1]}"


def server_of(catalogue: SlowCatalogue) -> RpcServer:
    service = pb.DESCRIPTOR.services_by_name["ProductService"]
    return make_server(GrpcService(service, catalogue, add_ProductServiceServicer_to_server), grace=10)


async def health(channel: grpc.aio.Channel, service: str) -> HealthCheckResponse:
    check = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=HealthCheckRequest.SerializeToString,
        response_deserializer=HealthCheckResponse.FromString,
    )
    answer: HealthCheckResponse = await check(HealthCheckRequest(service=service), timeout=TIMEOUT)
    return answer


def query(dsn: str, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(statement.encode(), parameters).fetchall()


async def test_fault_10_the_gateway_says_that_it_lives_and_which_services_it_misses(gateway: Gateway) -> None:
    nowhere = {f"{service}_address": NOWHERE for service in SERVICES}
    found = []
    for addresses in (gateway.addresses, nowhere):
        health = Health()
        async with open_services(Settings.model_validate({**tls_settings(), **addresses})) as services:
            health.watch(Checks(uses=services.health))
            health.has_started = True
            found.append(await health.report())

    assert [report.ready for report in found] == [True, True]  # nobody takes it out of a load balancer for a service
    assert [set(report.degraded) for report in found] == [set(), set(SERVICES)]


async def test_fault_10_a_service_says_that_it_serves_and_ends_the_call_under_way_before_it_stops() -> None:
    catalogue, product_id = SlowCatalogue(), new_id()
    server = server_of(catalogue)
    await server.__aenter__()
    async with open_callers(Part.PRODUCT, f"127.0.0.1:{server.port}") as channel:
        known = [(await health(channel, service)).status for service in ("", PRODUCT_SERVICE)]
        request = pb.GetProductRequest(product_id=product_id)
        under_way = asyncio.create_task(
            call(ProductServiceStub(channel).GetProduct, request, caller=SERVICE, deadline=TIMEOUT)
        )
        await catalogue.asked.wait()

        stopping = asyncio.create_task(server.__aexit__())
        await until_refused(server.port)
        had_stopped = stopping.done()
        catalogue.may_answer.set()
        answer = await under_way
        await stopping

    assert known == [HealthCheckResponse.SERVING] * 2
    assert not had_stopped
    assert answer.product.id == product_id


async def until_refused(port: int) -> None:
    """Wait until a server takes no new calls."""
    async with asyncio.timeout(TIMEOUT), open_callers(Part.PRODUCT, f"127.0.0.1:{port}") as newcomer:
        while True:
            try:
                if (await health(newcomer, "")).status is not HealthCheckResponse.SERVING:
                    return
            except grpc.aio.AioRpcError:
                return


async def test_fault_10_a_service_that_never_answers_costs_its_caller_no_more_than_the_deadline(silent: str) -> None:
    addresses = {f"{service}_address": silent for service in SERVICES}
    settings = Settings.model_validate(
        {**tls_settings(), **addresses, "grpc_deadline": SHORT_DEADLINE, "password_deadline": SHORT_DEADLINE}
    )
    async with open_services(settings) as services:
        transport = httpx.ASGITransport(create_app(services, VERIFIER))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as http:
            key = {"Idempotency-Key": new_id(), "Prefer": "wait=0"}
            requests: list[Awaitable[httpx.Response]] = [
                http.get("/v1/products"),
                http.get("/v1/orders", headers=ADMIN),
                http.get(f"/v1/inventory/{new_id()}", headers=ADMIN),
                http.get(f"/v1/payments/{new_id()}", headers=ADMIN),
                http.post("/v1/orders", json=order_body(), headers={**ADMIN, **key}),
                http.post("/v1/auth/token", json={"email": "a@example.test", "password": "correct horse"}),
                http.post("/webhooks/stripe", content=b"{}", headers={"Stripe-Signature": "t=1,v1=00"}),
            ]
            async with asyncio.timeout(TIMEOUT):
                answers = await asyncio.gather(*requests)

    assert [answer.status_code for answer in answers] == [503] * len(requests)
    assert {answer.json()["type"] for answer in answers} == {"urn:ordersaga:problem:service-unavailable"}


async def test_fault_10_a_call_is_carried_out_although_its_caller_has_given_up() -> None:
    catalogue = SlowCatalogue()
    async with server_of(catalogue) as server, open_callers(Part.PRODUCT, f"127.0.0.1:{server.port}") as channel:
        request = pb.GetProductRequest(product_id=new_id())
        asking = asyncio.create_task(
            call(ProductServiceStub(channel).GetProduct, request, caller=SERVICE, deadline=TIMEOUT)
        )
        await catalogue.asked.wait()

        asking.cancel()
        await catalogue.given_up.wait()
        catalogue.may_answer.set()

        await asyncio.wait_for(catalogue.answered.wait(), TIMEOUT)


async def test_fault_10_what_could_not_be_sent_is_tried_again_until_it_is(
    gateway: Gateway, databases: Mapping[str, str], tmp_path: Path
) -> None:
    account = {"email": f"customer-{new_id()}@example.test", "password": "correct horse", "name": "Customer"}
    user_id = (await gateway.http.post("/v1/users", json=account)).json()["id"]
    mail = {"channel": "email", "user_id": user_id, "subject": "Hello", "body": "Hello there"}
    await gateway.http.post("/v1/notifications", json=mail, headers=ADMIN)
    stands = "SELECT status, attempts FROM notifications WHERE user_id = %s"

    async with sending_service(databases["notification"], gateway, Settings(smtp_port=1)) as without_relay:
        await send_all(without_relay)
    unsent = query(databases["notification"], stands, user_id)
    async with (
        running_sink(tmp_path) as sink,
        sending_service(databases["notification"], gateway, sink.settings) as service,
        asyncio.timeout(TIMEOUT),
    ):
        while not (mails := await sink.received(to=account["email"])):
            await send_all(service)

    assert unsent == [("PENDING", 1)]
    assert [message["subject"] for message in mails] == ["Hello"]
    assert query(databases["notification"], stands, user_id) == [("SENT", 2)]


@pytest.mark.parametrize("service", SERVICES)
def test_fault_10_a_database_is_what_its_migrations_made(databases: Mapping[str, str], service: str) -> None:
    newest = ScriptDirectory(str(Path(migrations.__file__).parent / service)).get_current_head()
    tables = importlib.import_module(f"services.{service}.tables").Base.metadata
    engine = create_engine(sqlalchemy_url(databases[service]))

    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), tables)
    engine.dispose()

    assert query(databases[service], "SELECT version_num FROM alembic_version") == [(newest,)]
    assert differences == []


async def test_fault_10_what_happens_because_of_an_order_is_one_trace_over_all_services(
    gateway: Gateway, databases: Mapping[str, str]
) -> None:
    user_id, customer = await sign_up(gateway)
    product = {"name": "Mug", "unit_price": 1_250, "currency": "EUR"}
    product_id = (await gateway.http.post("/v1/products", json=product, headers=ADMIN)).json()["id"]
    await gateway.http.post(f"/v1/inventory/{product_id}/adjustments", json={"delta": 1}, headers=ADMIN)
    headers = {**customer, "Idempotency-Key": new_id(), "Prefer": "wait=0"}
    order_id = (await gateway.http.post("/v1/orders", json=order_body(product_id), headers=headers)).json()["id"]

    reserve = ReserveRequest(order_id=order_id, lines=[OrderLine(product_id=product_id, quantity=1)])
    opening = OpenPaymentRequest(order_id=order_id, user_id=user_id, amount=1_250, currency="EUR")
    await call(gateway.services.inventory.Reserve, reserve, caller=SERVICE, deadline=TIMEOUT)
    await call(gateway.services.payment.OpenPayment, opening, caller=SERVICE, deadline=TIMEOUT)

    traceparents = [
        parents
        for service, kind in (("order", "order.received"), ("inventory", "stock.reserved"), ("payment", "payment.%"))
        for parents in query(
            databases[service],
            "SELECT traceparent FROM outbox WHERE ce_type LIKE %s AND key IN (%s, %s)",
            kind,
            order_id,
            product_id,
        )
    ]
    assert len(traceparents) >= 4  # the payment tells of its row, and of its intent
    spans = [re.fullmatch(r"00-([0-9a-f]{32})-([0-9a-f]{16})-01", parent) for (parent,) in traceparents]
    assert {span[1] if span else None for span in spans} == {order_id.replace("-", "")}
    assert len({span[2] for span in spans if span}) == len(traceparents)
