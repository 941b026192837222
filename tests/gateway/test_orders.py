"""Orders over HTTP, on the real order service; tests move an order where its saga would."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio
from google.protobuf.timestamp_pb2 import Timestamp

from domain.declines import DECLINES
from domain.ids import new_id
from domain.order_numbers import parse_order_number
from domain.saga import OrderInput
from ordersaga.common.v1.order_line_pb2 import PricedLine
from ordersaga.order.v1 import order_pb2 as pb
from ordersaga.payment.v1.payment_pb2 import OpenPaymentRequest
from runtime.caller import SERVICE, CallerRole
from tests.support.gateway import Gateway, gateway_with_services, order_body, sign_up
from tests.support.identities import bearer
from tests.support.rpc import call

AT_ONCE = {"Prefer": "wait=0"}
WAITING = {"Prefer": "wait=10"}


@pytest_asyncio.fixture(scope="module")
async def running(databases: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    async with gateway_with_services(databases, stripe_data=tmp_path_factory.mktemp("stripe")) as gateway:
        yield gateway


@pytest.fixture
def gateway(running: Gateway) -> Iterator[Gateway]:
    yield running
    running.sagas.on_start = None


async def place(gateway: Gateway, body: dict[str, Any], headers: dict[str, str], key: str = "") -> httpx.Response:
    return await gateway.http.post("/v1/orders", json=body, headers={"Idempotency-Key": key or new_id(), **headers})


def fail_every_order(gateway: Gateway) -> None:
    async def fail(order: OrderInput) -> None:
        await close(gateway, order.order_id, pb.ORDER_STATUS_FAILED, "OUT_OF_STOCK")

    gateway.sagas.on_start = fail


async def close(gateway: Gateway, order_id: str, status: pb.OrderStatus.ValueType, reason: str = "") -> None:
    request = pb.MarkClosedRequest(order_id=order_id, cause_id=f"close-{status}", status=status, reason=reason)
    await call(gateway.services.order.MarkClosed, request, caller=SERVICE, deadline=5)


def open_every_order(gateway: Gateway, *, unit_price: int, payment: bool = True, payment_method: str = "") -> None:
    async def mark_pending(order: OrderInput) -> None:
        total = sum(line.quantity for line in order.lines) * unit_price
        if payment:
            opening = OpenPaymentRequest(
                order_id=order.order_id,
                user_id=order.user_id,
                amount=total,
                currency=order.currency,
                payment_method=payment_method,
            )
            await call(gateway.services.payment.OpenPayment, opening, caller=SERVICE, deadline=5)
        deadline = Timestamp()
        deadline.FromDatetime(datetime.now(UTC) + timedelta(seconds=order.payment_window_seconds))
        lines = [
            PricedLine(product_id=line.product_id, quantity=line.quantity, unit_price=unit_price, name="Mug")
            for line in order.lines
        ]
        request = pb.MarkPendingRequest(
            order_id=order.order_id,
            cause_id="pending",
            lines=lines,
            total=total,
            payment_id=new_id(),
            payment_deadline=deadline,
        )
        await call(gateway.services.order.MarkPending, request, caller=SERVICE, deadline=5)

    gateway.sagas.on_start = mark_pending


async def test_an_order_that_takes_longer_than_the_wait_is_accepted(gateway: Gateway) -> None:
    _, customer = await sign_up(gateway)
    product_id = new_id()
    body = order_body(product_id)

    response = await place(gateway, body, {**customer, **AT_ONCE})

    order = response.json()
    assert response.status_code == 202
    assert response.headers["location"] == f"/v1/orders/{order['id']}"
    assert response.headers["retry-after"] == "1"
    assert "idempotency-replayed" not in response.headers
    assert order == {
        "id": order["id"],
        "number": order["number"],
        "status": "RECEIVED",
        "reason": None,
        "currency": "EUR",
        "total": None,
        "refunded": 0,
        "items": [{"product_id": product_id, "name": None, "quantity": 1, "unit_price": None}],
        "adjustments": [],
        "shipping_address": {**body["shipping_address"], "line2": None, "region": None},
        "guest_email": None,
        "metadata": {},
        "created_at": order["created_at"],
        "payment_deadline": None,
        "payment_id": None,
        "payment_status": None,
        "customer_action": None,
        "last_decline": None,
        "refundable": 0,
        "client_secret": None,
        "payment": None,
        "refunds": None,
        "timeline": None,
        "transitions": [{"seq": 1, "from": None, "to": "RECEIVED", "reason": None, "at": order["created_at"]}],
    }
    assert parse_order_number(order["number"]) == order["number"]
    assert datetime.fromisoformat(order["created_at"]).tzinfo == UTC
    assert (await gateway.http.get(response.headers["location"], headers=customer)).json() == order


async def test_an_order_that_fails_while_the_customer_waits_is_shown_with_its_reason(gateway: Gateway) -> None:
    _, customer = await sign_up(gateway)
    fail_every_order(gateway)

    response = await place(gateway, order_body(), {**customer, **WAITING})

    assert response.status_code == 201
    assert (response.json()["status"], response.json()["reason"]) == ("FAILED", "OUT_OF_STOCK")
    assert [(step["from"], step["to"], step["reason"]) for step in response.json()["transitions"]] == [
        (None, "RECEIVED", None),
        ("RECEIVED", "FAILED", "OUT_OF_STOCK"),
    ]


async def test_a_pending_order_is_shown_even_when_its_client_secret_cannot_be_had(
    gateway: Gateway,
) -> None:
    _, customer = await sign_up(gateway)
    open_every_order(gateway, unit_price=1_250, payment=False)
    product_id = new_id()
    lines = [{"product_id": product_id, "quantity": 2}, {"product_id": product_id, "quantity": 3}]

    response = await place(gateway, order_body(lines=lines), {**customer, **WAITING})

    order = response.json()
    assert (response.status_code, order["status"], order["total"]) == (201, "PENDING", 6_250)
    assert order["items"] == [{"product_id": product_id, "name": "Mug", "quantity": 5, "unit_price": 1_250}]
    assert order["payment_id"]
    assert datetime.fromisoformat(order["payment_deadline"]) > datetime.now(UTC) + timedelta(seconds=800)
    assert order["client_secret"] is None


async def test_only_the_owner_gets_the_client_secret_and_only_while_the_order_is_pending(gateway: Gateway) -> None:
    _, owner = await sign_up(gateway)
    open_every_order(gateway, unit_price=1_250)

    placed = await place(gateway, order_body(), {**owner, **WAITING})

    path = placed.headers["location"]
    assert placed.json()["client_secret"].startswith("pi_")
    assert placed.headers["cache-control"] == "no-store"
    assert (await gateway.http.get(path, headers=owner)).json() == placed.json()
    as_admin = await gateway.http.get(path, headers=bearer(CallerRole.ADMIN))
    assert (as_admin.json()["status"], as_admin.json()["client_secret"]) == ("PENDING", None)
    await close(gateway, placed.json()["id"], pb.ORDER_STATUS_PAID)
    paid = (await gateway.http.get(path, headers=owner)).json()
    assert (paid["status"], paid["client_secret"]) == ("PAID", None)


async def test_a_repeat_answers_with_the_first_status_and_the_order_as_it_is_now(gateway: Gateway) -> None:
    _, customer = await sign_up(gateway)
    body, key = order_body(), new_id()
    first = await place(gateway, body, {**customer, **AT_ONCE}, key)
    await close(gateway, first.json()["id"], pb.ORDER_STATUS_FAILED, "PAYMENT_TIMEOUT")

    repeat = await place(gateway, body, customer, key)

    assert (first.status_code, first.json()["status"]) == (202, "RECEIVED")
    assert (repeat.status_code, repeat.json()["status"]) == (202, "FAILED")
    assert repeat.headers["idempotency-replayed"] == "true"
    assert repeat.headers["location"] == first.headers["location"]


async def test_a_repeat_of_a_created_order_is_201_again(gateway: Gateway) -> None:
    _, customer = await sign_up(gateway)
    fail_every_order(gateway)
    body, key = order_body(), new_id()
    first = await place(gateway, body, {**customer, **WAITING}, key)

    repeat = await place(gateway, body, customer, key)

    assert (first.status_code, repeat.status_code) == (201, 201)
    assert repeat.json() == first.json()


async def test_a_key_with_another_body_is_refused_and_makes_no_order(gateway: Gateway) -> None:
    _, customer = await sign_up(gateway)
    key = new_id()
    first = await place(gateway, order_body(), {**customer, **AT_ONCE}, key)

    other = await place(gateway, order_body(), {**customer, **AT_ONCE}, key)
    others_own = await place(gateway, order_body(), {**(await sign_up(gateway))[1], **AT_ONCE}, key)

    assert (other.status_code, other.json()["type"]) == (422, "urn:ordersaga:problem:idempotency-key-reused")
    assert others_own.status_code == 202
    assert others_own.json()["id"] != first.json()["id"]


async def test_anothers_order_answers_exactly_like_a_missing_one(gateway: Gateway) -> None:
    _, owner = await sign_up(gateway)
    _, stranger = await sign_up(gateway)
    order_id = (await place(gateway, order_body(), {**owner, **AT_ONCE})).json()["id"]
    missing_id = new_id()

    others = await gateway.http.get(f"/v1/orders/{order_id}", headers=stranger)
    missing = await gateway.http.get(f"/v1/orders/{missing_id}", headers=stranger)

    assert others.status_code == missing.status_code == 404
    assert others.text.replace(order_id, missing_id) == missing.text
    assert others.headers.keys() == missing.headers.keys()


async def test_an_admin_reads_every_order_and_may_place_one(gateway: Gateway) -> None:
    _, customer = await sign_up(gateway)
    admin = bearer(CallerRole.ADMIN)
    placed = (await place(gateway, order_body(), {**customer, **AT_ONCE})).json()

    read = await gateway.http.get(f"/v1/orders/{placed['id']}", headers=admin)
    own = await place(gateway, order_body(), {**admin, **AT_ONCE})

    assert (read.status_code, read.json()) == (200, placed)
    assert own.status_code == 202


async def test_an_order_is_read_by_its_number_wherever_an_id_is_taken(gateway: Gateway) -> None:
    _, owner = await sign_up(gateway)
    order = (await place(gateway, order_body(), {**owner, **AT_ONCE})).json()
    written = order["number"].replace("-", "").lower()

    read = await gateway.http.get(f"/v1/orders/{written}", headers=owner)
    refunds = await gateway.http.get(f"/v1/orders/{order['number']}/refunds", headers=owner)
    timeline = await gateway.http.get(f"/v1/orders/{order['number']}/timeline", headers=owner)
    cancelled = await gateway.http.post(
        f"/v1/orders/{order['number']}/cancel", json={}, headers={"Idempotency-Key": new_id(), **owner, **AT_ONCE}
    )

    assert (read.status_code, read.json()) == (200, order)
    assert (refunds.status_code, refunds.json()) == (200, {"items": []})
    assert timeline.status_code == 200
    assert (cancelled.status_code, cancelled.json()["id"]) == (202, order["id"])


async def test_anothers_number_answers_exactly_like_a_missing_one(gateway: Gateway) -> None:
    _, owner = await sign_up(gateway)
    _, stranger = await sign_up(gateway)
    number = (await place(gateway, order_body(), {**owner, **AT_ONCE})).json()["number"]

    others = await gateway.http.get(f"/v1/orders/{number}", headers=stranger)
    missing = await gateway.http.get("/v1/orders/0000-0000", headers=stranger)

    assert others.status_code == missing.status_code == 404
    assert others.text.replace(number, "0000-0000") == missing.text


async def test_what_is_neither_id_nor_number_is_refused_in_words(gateway: Gateway) -> None:
    response = await gateway.http.get("/v1/orders/7KQ2", headers=bearer(CallerRole.CUSTOMER))

    assert response.status_code == 400
    assert response.json()["errors"] == [
        {
            "field": "order_id",
            "message": "must be a UUID in lower case with hyphens, or an order's number such as 7KQ2-M9XD",
        }
    ]


async def test_an_order_keeps_what_the_shop_gave_it(gateway: Gateway) -> None:
    _, customer = await sign_up(gateway)
    metadata = {"cart": "web-4711", "Ünïcode ☃": "", **{f"key {n}": "v" * 500 for n in range(48)}}
    key = new_id()

    placed = await place(gateway, order_body(metadata=metadata), {**customer, **AT_ONCE}, key)
    read = await gateway.http.get(placed.headers["location"], headers=customer)
    other = await place(gateway, order_body(metadata={}), {**customer, **AT_ONCE}, key)

    assert placed.json()["metadata"] == read.json()["metadata"] == metadata
    assert other.status_code == 422


@pytest.mark.parametrize(
    ("metadata", "field", "message"),
    [
        ({"": "x"}, "metadata", "each of its keys must be a line of 1 to 40 characters"),
        ({"a[b]": "x"}, "metadata", "without square brackets"),
        ({"a\r\nb": "x"}, "metadata", "no control, invisible or direction character"),
        ({"a": 7}, "metadata.a", "must be empty, or a line of 1 to 500 characters"),
        ({"a": "x" * 501}, "metadata.a", "must be empty, or a line of 1 to 500 characters"),
        ({f"key {n}": "" for n in range(51)}, "metadata", "must be an object of at most 50 keys"),
    ],
)
async def test_metadata_that_does_not_fit_is_named(
    gateway: Gateway, metadata: dict[str, Any], field: str, message: str
) -> None:
    response = await place(gateway, order_body(metadata=metadata), bearer(CallerRole.CUSTOMER))

    assert response.status_code == 400
    [error] = response.json()["errors"]
    assert error["field"] == field
    assert message in error["message"]


def address(**changes: Any) -> dict[str, Any]:
    return {**order_body()["shipping_address"], **changes}


@pytest.mark.parametrize(
    "written",
    [
        address(country="HK", region="Kowloon", city=None, postal_code=None),
        address(country="US", city="Springfield", region="IL", postal_code="62704"),
        address(name="محمد", city="Αθήνα"),
    ],
)
async def test_an_address_is_kept_as_its_country_writes_it(gateway: Gateway, written: dict[str, Any]) -> None:
    _, customer = await sign_up(gateway)

    placed = await place(gateway, order_body(shipping_address=written), {**customer, **AT_ONCE})

    assert placed.status_code == 202
    assert placed.json()["shipping_address"] == {"line2": None, "region": None, **written}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"country": "ZZ"}, "country"),
        ({"country": "de"}, "country"),
        ({"country": "US"}, "region"),
        ({"postal_code": None}, "postal_code"),
        ({"postal_code": "1234"}, "postal_code"),
        ({"city": None}, "city"),
        ({"name": "\u202eadA"}, "name"),
        ({"city": "Town\r\nBcc: all@example.test"}, "city"),
        ({"line1": "1 High\u200bStreet"}, "line1"),
        ({"line2": "\t"}, "line2"),
        ({"region": " "}, "region"),
    ],
)
async def test_an_address_that_nobody_can_deliver_to_is_named(
    gateway: Gateway, changes: dict[str, Any], field: str
) -> None:
    body = order_body(shipping_address=address(**changes))

    response = await place(gateway, body, bearer(CallerRole.CUSTOMER))

    assert response.status_code == 400
    assert [error["field"] for error in response.json()["errors"]] == [f"shipping_address.{field}"]


async def test_a_customer_may_have_so_many_unpaid_orders_and_a_shops_people_as_many_as_they_like(
    gateway: Gateway,
) -> None:
    _, customer = await sign_up(gateway)
    admin = bearer(CallerRole.ADMIN)

    codes = [(await place(gateway, order_body(), {**customer, **AT_ONCE})).status_code for _ in range(20)]
    refused = await place(gateway, order_body(), {**customer, **AT_ONCE})
    by_admin = [(await place(gateway, order_body(), {**admin, **AT_ONCE})).status_code for _ in range(21)]

    assert codes == [202] * 20
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:ordersaga:problem:too-many-open-orders")
    assert by_admin == [202] * 21


async def test_a_customers_unpaid_orders_hold_so_many_units_together(gateway: Gateway) -> None:
    _, customer = await sign_up(gateway)

    def some(*quantities: int) -> dict[str, Any]:
        return order_body(lines=[{"product_id": new_id(), "quantity": quantity} for quantity in quantities])

    first = await place(gateway, some(400, 500), {**customer, **AT_ONCE})
    refused = await place(gateway, some(101), {**customer, **AT_ONCE})

    assert first.status_code == 202
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:ordersaga:problem:too-many-held-units")
    assert "they hold 900, and this one wants 101" in refused.json()["detail"]


async def test_nobody_gets_longer_to_pay_than_the_shop_allows(gateway: Gateway) -> None:
    _, customer = await sign_up(gateway)

    longest = await place(gateway, order_body(payment_window_seconds=3_600), {**customer, **AT_ONCE})
    longer = await place(gateway, order_body(payment_window_seconds=3_601), {**customer, **AT_ONCE})

    assert longest.status_code == 202
    assert (longer.status_code, longer.json()["type"]) == (422, "urn:ordersaga:problem:payment-window-too-long")
    assert "at most 3600" in longer.json()["detail"]


@pytest.mark.parametrize(
    ("payment_method", "status", "action", "code"),
    [
        ("", "REQUIRES_PAYMENT_METHOD", "PAY", None),
        ("pm_card_chargeDeclinedInsufficientFunds", "REQUIRES_PAYMENT_METHOD", "PAY", "insufficient_funds"),
        ("pm_card_visa_chargeDeclinedStolenCard", "REQUIRES_PAYMENT_METHOD", "PAY", "generic_decline"),
        ("pm_card_authenticationRequired", "REQUIRES_ACTION", "AUTHENTICATE", None),
    ],
)
async def test_a_pending_order_says_what_its_customer_is_to_do_and_why_the_last_card_was_declined(
    gateway: Gateway, payment_method: str, status: str, action: str, code: str | None
) -> None:
    _, owner = await sign_up(gateway)
    open_every_order(gateway, unit_price=1_250, payment_method=payment_method)

    order = (await place(gateway, order_body(), {**owner, **WAITING})).json()

    assert (order["status"], order["payment_status"], order["customer_action"]) == ("PENDING", status, action)
    assert (order["last_decline"] or {}).get("code") == code
    assert order["last_decline"] is None or order["last_decline"]["message"] == DECLINES[code or ""]
    assert order["refundable"] == 0


async def test_an_order_is_read_with_its_payment_refunds_and_timeline_where_they_are_asked_for(
    gateway: Gateway,
) -> None:
    _, owner = await sign_up(gateway)
    open_every_order(gateway, unit_price=1_250)
    placed = (await place(gateway, order_body(), {**owner, **WAITING})).json()
    path = f"/v1/orders/{placed['id']}"

    plain = (await gateway.http.get(path, headers=owner)).json()
    some = (await gateway.http.get(path, params={"expand": "payment"}, headers=owner)).json()
    everything = (await gateway.http.get(path, params={"expand": "refunds,timeline,payment"}, headers=owner)).json()
    wrong = await gateway.http.get(path, params={"expand": "payment,moon"}, headers=owner)

    assert [plain[name] for name in ("payment", "refunds", "timeline")] == [None, None, None]
    assert (some["payment"]["order_id"], some["refunds"]) == (placed["id"], None)
    assert (everything["payment"], everything["refunds"]) == (some["payment"], [])
    assert everything["timeline"].keys() == {"entries", "missing"}
    assert wrong.status_code == 400
    assert wrong.json()["errors"] == [{"field": "expand", "message": "'moon' is none of payment, refunds, timeline"}]


async def test_an_order_that_a_client_has_is_not_sent_again_until_it_moves(gateway: Gateway) -> None:
    _, owner = await sign_up(gateway)
    path = f"/v1/orders/{(await place(gateway, order_body(), {**owner, **AT_ONCE})).json()['id']}"

    async def read(if_none_match: str, **parameters: str) -> httpx.Response:
        return await gateway.http.get(path, params=parameters, headers={**owner, "If-None-Match": if_none_match})

    first = await gateway.http.get(path, headers=owner)
    tag = first.headers["etag"]
    again = await read(tag)
    same = [await read(tags) for tags in (tag.removeprefix("W/"), f'"other", {tag}', "*")]
    others = [await read(tags) for tags in ('"other"', "", tag.replace('"', ""), f'{tag[:-2]}"')]
    expanded = await read(tag, expand="refunds")
    await close(gateway, first.json()["id"], pb.ORDER_STATUS_FAILED, "OUT_OF_STOCK")
    moved = await read(tag)

    assert tag.startswith('W/"')
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert again.headers["cache-control"] == "no-store"
    assert [answer.status_code for answer in same] == [304] * 3
    assert [answer.status_code for answer in (*others, expanded, moved)] == [200] * 6
    assert moved.headers["etag"] != tag
