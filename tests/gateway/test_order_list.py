"""Lists of orders over HTTP, on the real order service; tests move an order where its saga would."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import pytest_asyncio

from domain.ids import new_id
from ordersaga.order.v1 import order_pb2 as pb
from runtime.caller import SERVICE, Caller, CallerRole
from runtime.refusal import CallRefused
from tests.support.gateway import Gateway, gateway_with_services, order_body, sign_up
from tests.support.identities import bearer
from tests.support.rpc import call

ADMIN = bearer(CallerRole.ADMIN)


@pytest_asyncio.fixture(scope="module")
async def gateway(databases: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    async with gateway_with_services(databases, stripe_data=tmp_path_factory.mktemp("stripe")) as gateway:
        yield gateway


async def place(gateway: Gateway, customer: dict[str, str], *product_ids: str) -> dict[str, Any]:
    headers = {"Idempotency-Key": new_id(), "Prefer": "wait=0", **customer}
    response = await gateway.http.post("/v1/orders", json=order_body(*product_ids), headers=headers)
    order: dict[str, Any] = response.json()
    return order


async def fail(gateway: Gateway, order_id: str) -> None:
    request = pb.MarkClosedRequest(
        order_id=order_id, cause_id="close", status=pb.ORDER_STATUS_FAILED, reason="OUT_OF_STOCK"
    )
    await call(gateway.services.order.MarkClosed, request, caller=SERVICE, deadline=5)


async def list_all(gateway: Gateway, headers: dict[str, str], **parameters: Any) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        response = await gateway.http.get(
            "/v1/orders", params={"limit": 2, "cursor": cursor, **parameters}, headers=headers
        )
        assert response.status_code == 200, response.text
        page = response.json()
        assert len(page["items"]) <= 2
        listed += page["items"]
        cursor = page["next_cursor"]
    return listed


async def test_a_customer_lists_their_own_orders_the_newest_first(gateway: Gateway) -> None:
    user_id, customer = await sign_up(gateway)
    _, stranger = await sign_up(gateway)
    placed = []
    for product_ids in ([new_id(), new_id()], [new_id()], [new_id()]):
        placed.append(await place(gateway, customer, *product_ids))
        await place(gateway, stranger)
    await fail(gateway, placed[0]["id"])

    listed = await list_all(gateway, customer)

    assert [order["id"] for order in listed] == sorted((order["id"] for order in placed), reverse=True)
    assert listed[-1] == {
        "id": placed[0]["id"],
        "number": placed[0]["number"],
        "user_id": user_id,
        "status": "FAILED",
        "reason": "OUT_OF_STOCK",
        "currency": "EUR",
        "total": None,
        "refunded": 0,
        "line_count": 2,
        "created_at": placed[0]["created_at"],
        "payment_deadline": None,
        "payment_id": None,
    }


async def test_an_order_placed_while_pages_are_read_moves_nothing(gateway: Gateway) -> None:
    _, customer = await sign_up(gateway)
    older = [(await place(gateway, customer))["id"] for _ in range(3)]
    first = (await gateway.http.get("/v1/orders", params={"limit": 2}, headers=customer)).json()

    await place(gateway, customer)

    second = await gateway.http.get("/v1/orders", params={"cursor": first["next_cursor"]}, headers=customer)
    read = [order["id"] for order in first["items"] + second.json()["items"]]
    assert read == sorted(older, reverse=True)
    assert second.headers["cache-control"] == "no-store"


async def test_a_full_last_page_has_no_next_one(gateway: Gateway) -> None:
    _, customer = await sign_up(gateway)
    for _ in range(2):
        await place(gateway, customer)

    page = (await gateway.http.get("/v1/orders", params={"limit": 2}, headers=customer)).json()

    assert (len(page["items"]), page["next_cursor"]) == (2, None)


async def test_a_customer_without_orders_has_an_empty_list(gateway: Gateway) -> None:
    assert await list_all(gateway, bearer(CallerRole.CUSTOMER)) == []


async def test_an_admin_lists_everybodys_orders(gateway: Gateway) -> None:
    placed = {}
    for _ in range(2):
        user_id, customer = await sign_up(gateway)
        placed[(await place(gateway, customer))["id"]] = user_id

    listed = {order["id"]: order["user_id"] for order in await list_all(gateway, ADMIN)}

    assert placed.items() <= listed.items()


async def test_a_list_shows_only_orders_of_the_status_asked_for(gateway: Gateway) -> None:
    _, customer = await sign_up(gateway)
    orders = [(await place(gateway, customer))["id"] for _ in range(4)]
    for order_id in orders[1:3]:
        await fail(gateway, order_id)

    listed = {
        status: [order["id"] for order in await list_all(gateway, customer, status=status)]
        for status in ("RECEIVED", "FAILED", "PAID")
    }

    assert listed == {"RECEIVED": [orders[3], orders[0]], "FAILED": [orders[2], orders[1]], "PAID": []}


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 101}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"cursor": "third page"}, "cursor"),
        ({"status": "paid"}, "status"),
        ({"status": "LOST"}, "status"),
    ],
)
async def test_a_parameter_that_does_not_fit_is_named(
    gateway: Gateway, parameters: dict[str, str | int], field: str
) -> None:
    response = await gateway.http.get("/v1/orders", params=parameters, headers=ADMIN)

    assert response.status_code == 400
    assert [error["field"] for error in response.json()["errors"]] == [field]


async def test_nobody_lists_orders_without_a_token(gateway: Gateway) -> None:
    response = await gateway.http.get("/v1/orders")

    assert (response.status_code, response.json()["type"]) == (401, "urn:ordersaga:problem:missing-token")


async def test_only_people_list_orders(gateway: Gateway) -> None:
    with pytest.raises(CallRefused):
        await call(gateway.services.order.ListOrders, pb.ListOrdersRequest(page_size=1), caller=SERVICE, deadline=5)


async def test_every_violation_of_a_list_is_named_at_once(gateway: Gateway) -> None:
    caller = Caller(CallerRole.CUSTOMER, new_id())
    request = pb.ListOrdersRequest(page_size=101, page_token="?", status=99)  # type: ignore[arg-type]  # no status
    with pytest.raises(CallRefused) as caught:
        await call(gateway.services.order.ListOrders, request, caller=caller, deadline=5)

    assert set(caught.value.details) == {"page_size", "page_token", "status"}


async def test_a_list_is_narrowed_by_number_time_total_and_customer(gateway: Gateway) -> None:
    user_id, customer = await sign_up(gateway)
    orders = [await place(gateway, customer) for _ in range(3)][::-1]
    ids = [order["id"] for order in orders]
    middle = orders[1]["created_at"]

    async def ids_of(headers: dict[str, str], **parameters: Any) -> list[str]:
        return [order["id"] for order in await list_all(gateway, headers, **parameters)]

    assert await ids_of(customer, number=orders[2]["number"].replace("-", "").lower()) == ids[2:]
    assert await ids_of(customer, number="0000-0001") == []
    assert await ids_of(customer, created_from=middle) == ids[:2]
    assert await ids_of(customer, created_before=middle) == ids[2:]
    assert await ids_of(customer, total_min=0) == []  # of orders that are not priced
    assert await ids_of(ADMIN, customer=user_id) == ids
    assert await ids_of(ADMIN, customer=user_id, attention=True) == []


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"number": "7KQ2"}, "number"),
        ({"created_from": "2026-11-30T09:00:00"}, "created_from"),
        ({"created_before": "0001-01-01T00:00:00+14:00"}, "created_before"),
        ({"created_from": "yesterday"}, "created_from"),
        ({"total_min": -1}, "total_min"),
        ({"customer": "somebody"}, "customer"),
        ({"search": "mug"}, "search"),
        ({"search": "x" * 101, "customer": new_id()}, "search"),
    ],
)
async def test_a_filter_that_makes_no_sense_is_named(gateway: Gateway, parameters: dict[str, Any], field: str) -> None:
    response = await gateway.http.get("/v1/orders", params=parameters, headers=ADMIN)

    assert response.status_code == 400
    assert [error["field"] for error in response.json()["errors"]] == [field]


@pytest.mark.parametrize("parameters", [{"customer": new_id()}, {"attention": True}])
async def test_what_is_for_a_shops_own_people_is_refused_to_customers(
    gateway: Gateway, parameters: dict[str, Any]
) -> None:
    response = await gateway.http.get("/v1/orders", params=parameters, headers=bearer(CallerRole.CUSTOMER))

    assert (response.status_code, response.json()["type"]) == (403, "urn:ordersaga:problem:forbidden")
