"""Cancelling over HTTP, on the real order service; tests end an order where its saga would."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping

import httpx
import pytest
import pytest_asyncio

from domain.ids import new_id
from domain.orders import CancelledBy
from ordersaga.order.v1 import order_pb2 as pb
from runtime.caller import SERVICE, CallerRole
from runtime.database import Database
from tests.support.gateway import Gateway, gateway_with_services, order_body, sign_up
from tests.support.identities import bearer
from tests.support.rows import fetch_rows
from tests.support.rpc import call

AT_ONCE = {"Prefer": "wait=0"}


@pytest_asyncio.fixture(scope="module")
async def running(databases: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    async with gateway_with_services(databases, stripe_data=tmp_path_factory.mktemp("stripe")) as gateway:
        yield gateway


@pytest.fixture
def gateway(running: Gateway) -> Iterator[Gateway]:
    yield running
    running.sagas.on_cancel = None


@pytest_asyncio.fixture(scope="module")
async def database(databases: Mapping[str, str]) -> AsyncIterator[Database]:
    database = Database(databases["order"], pool_size=2)
    yield database
    await database.close()


@pytest_asyncio.fixture
async def customer(gateway: Gateway) -> dict[str, str]:
    _, customer = await sign_up(gateway)
    return customer


async def place(gateway: Gateway, customer: dict[str, str]) -> str:
    headers = {"Idempotency-Key": new_id(), **customer, **AT_ONCE}
    return str((await gateway.http.post("/v1/orders", json=order_body(), headers=headers)).json()["id"])


async def cancel(
    gateway: Gateway, order_id: str, headers: dict[str, str], *, key: str = "", note: str | None = None
) -> httpx.Response:
    body = {} if note is None else {"note": note}
    headers = {"Idempotency-Key": key or new_id(), **headers}
    return await gateway.http.post(f"/v1/orders/{order_id}/cancel", json=body, headers=headers)


async def close(gateway: Gateway, order_id: str, status: pb.OrderStatus.ValueType, reason: str = "") -> None:
    request = pb.MarkClosedRequest(order_id=order_id, cause_id="closed", status=status, reason=reason)
    await call(gateway.services.order.MarkClosed, request, caller=SERVICE, deadline=5)


def obey(gateway: Gateway) -> list[tuple[str, CancelledBy]]:
    """Let sagas cancel their orders as they are asked to; what they were asked."""
    asked: list[tuple[str, CancelledBy]] = []

    async def on_cancel(order_id: str, cancelled_by: CancelledBy) -> None:
        asked.append((order_id, cancelled_by))
        await close(gateway, order_id, pb.ORDER_STATUS_CANCELLED, cancelled_by)

    gateway.sagas.on_cancel = on_cancel
    return asked


async def test_an_order_is_cancelled_by_its_owner(gateway: Gateway, customer: dict[str, str]) -> None:
    asked = obey(gateway)
    order_id = await place(gateway, customer)

    response = await cancel(gateway, order_id, customer, note="found it cheaper")

    order = response.json()
    assert (response.status_code, order["status"], order["reason"]) == (200, "CANCELLED", "CUSTOMER")
    assert asked == [(order_id, CancelledBy.CUSTOMER)]
    assert "found it cheaper" not in response.text


async def test_an_admin_may_cancel_anybodys_order(gateway: Gateway, customer: dict[str, str]) -> None:
    obey(gateway)
    order_id = await place(gateway, customer)

    response = await cancel(gateway, order_id, bearer(CallerRole.ADMIN))

    assert (response.status_code, response.json()["reason"]) == (200, "ADMIN")


async def test_another_customers_order_answers_like_none(gateway: Gateway, customer: dict[str, str]) -> None:
    asked = obey(gateway)
    order_id = await place(gateway, customer)
    _, stranger = await sign_up(gateway)

    response = await cancel(gateway, order_id, stranger)

    assert (response.status_code, response.json()["type"]) == (404, "urn:ordersaga:problem:not-found")
    assert asked == []


@pytest.mark.parametrize("status", [pb.ORDER_STATUS_FAILED, pb.ORDER_STATUS_PAID])
async def test_an_order_that_ended_otherwise_is_not_cancellable(
    gateway: Gateway, customer: dict[str, str], database: Database, status: pb.OrderStatus.ValueType
) -> None:
    asked = obey(gateway)
    order_id = await place(gateway, customer)
    # What an order needs to be PAID is another test's; here it only has to have been PENDING.
    await fetch_rows(database, "UPDATE orders SET status = 'PENDING' WHERE id = %(id)s RETURNING id", id=order_id)
    await close(gateway, order_id, status)

    response = await cancel(gateway, order_id, customer)

    assert (response.status_code, response.json()["type"]) == (409, "urn:ordersaga:problem:order-not-cancellable")
    assert asked == []
    assert await fetch_rows(database, "SELECT 1 FROM cancellation_requests WHERE order_id = %(id)s", id=order_id) == []


async def test_an_order_that_takes_longer_is_accepted_and_the_same_key_says_so_again(
    gateway: Gateway, customer: dict[str, str]
) -> None:
    order_id = await place(gateway, customer)

    first = await cancel(gateway, order_id, {**customer, **AT_ONCE}, key="slow")
    await close(gateway, order_id, pb.ORDER_STATUS_CANCELLED, "CUSTOMER")
    again = await cancel(gateway, order_id, {**customer, **AT_ONCE}, key="slow")

    assert (first.status_code, first.headers["Location"]) == (202, f"/v1/orders/{order_id}")
    assert (again.status_code, again.json()["status"]) == (202, "CANCELLED")
    assert again.headers["Idempotency-Replayed"] == "true"


async def test_the_same_key_is_the_same_request_and_another_body_is_refused(
    gateway: Gateway, customer: dict[str, str]
) -> None:
    obey(gateway)
    order_id = await place(gateway, customer)

    first = await cancel(gateway, order_id, customer, key="once", note="a")
    again = await cancel(gateway, order_id, customer, key="once", note="a")
    other = await cancel(gateway, order_id, customer, key="once", note="b")

    assert (first.status_code, again.status_code, other.status_code) == (200, 200, 422)
    assert "Idempotency-Replayed" not in first.headers
    assert again.json() == first.json()


async def test_a_second_request_finds_the_order_cancelled(gateway: Gateway, customer: dict[str, str]) -> None:
    obey(gateway)
    order_id = await place(gateway, customer)

    first = await cancel(gateway, order_id, customer)
    second = await cancel(gateway, order_id, bearer(CallerRole.ADMIN))

    assert (first.status_code, second.status_code) == (200, 200)
    assert second.json()["reason"] == "CUSTOMER"
