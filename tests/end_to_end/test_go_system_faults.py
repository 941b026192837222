"""The faults of the Go system that this one replaces, each shown gone on real services.

What a fault did to a whole order is shown in `tests/saga/test_go_system_faults_saga.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from domain.ids import new_id
from domain.refusals import Refusal
from ordersaga.common.v1.order_line_pb2 import OrderLine
from ordersaga.inventory.v1.inventory_pb2 import ReserveRequest
from ordersaga.payment.v1.payment_pb2 import OpenPaymentRequest
from ordersaga.product.v1.product_pb2 import QuoteRequest
from runtime.caller import SERVICE, CallerRole
from runtime.refusal import CallRefused
from runtime.settings import Settings
from tests.support.gateway import PASSWORD, Gateway, gateway_with_services, order_body, sign_up
from tests.support.identities import bearer, forged_bearer
from tests.support.notification_sink import QueuedSms, running_sink, send_all, sending_service
from tests.support.rpc import call

ADMIN = bearer(CallerRole.ADMIN)
MUG = {"name": "Mug", "unit_price": 1_250, "currency": "EUR"}


@pytest_asyncio.fixture(scope="module")
async def gateway(databases: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    stripe_data = tmp_path_factory.mktemp("stripe")
    async with gateway_with_services(databases, stripe_data=stripe_data, sms=QueuedSms()) as gateway:
        yield gateway


async def add_product(gateway: Gateway, *, units: int = 0, **changes: Any) -> str:
    product = (await gateway.http.post("/v1/products", json={**MUG, **changes}, headers=ADMIN)).json()
    if units:
        await gateway.http.post(f"/v1/inventory/{product['id']}/adjustments", json={"delta": units}, headers=ADMIN)
    return str(product["id"])


async def stock(gateway: Gateway, product_id: str) -> tuple[int, int, int]:
    """On hand, of that reserved, and what is left of it."""
    level = (await gateway.http.get(f"/v1/inventory/{product_id}", headers=ADMIN)).json()
    return level["on_hand"], level["reserved"], level["available"]


async def reserve(gateway: Gateway, order_id: str, lines: Mapping[str, int]) -> Refusal | None:
    request = ReserveRequest(
        order_id=order_id,
        lines=[OrderLine(product_id=product_id, quantity=units) for product_id, units in lines.items()],
    )
    try:
        await call(gateway.services.inventory.Reserve, request, caller=SERVICE, deadline=10)
    except CallRefused as refused:
        return refused.refusal
    return None


def query(dsn: str, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(statement.encode(), parameters).fetchall()


async def test_fault_1_a_reservation_that_fails_at_its_second_line_keeps_nothing_of_the_first(gateway: Gateway) -> None:
    plenty, scarce = await add_product(gateway, units=10), await add_product(gateway, units=1)

    refusal = await reserve(gateway, new_id(), {plenty: 4, scarce: 2})

    assert refusal is Refusal.OUT_OF_STOCK
    assert [await stock(gateway, product) for product in (plenty, scarce)] == [(10, 0, 10), (1, 0, 1)]


async def test_fault_2_orders_at_once_get_no_more_pieces_than_there_are(gateway: Gateway) -> None:
    product_id = await add_product(gateway, units=5)

    outcomes = await asyncio.gather(*(reserve(gateway, new_id(), {product_id: 1}) for _ in range(20)))

    assert (outcomes.count(None), outcomes.count(Refusal.OUT_OF_STOCK)) == (5, 15)
    assert await stock(gateway, product_id) == (5, 5, 0)


async def test_fault_3_the_same_request_twice_is_one_order_one_payment_and_one_reservation(
    gateway: Gateway, databases: Mapping[str, str]
) -> None:
    user_id, customer = await sign_up(gateway)
    product_id = await add_product(gateway, units=5)
    headers = {**customer, "Idempotency-Key": new_id(), "Prefer": "wait=0"}

    answers = [await gateway.http.post("/v1/orders", json=order_body(product_id), headers=headers) for _ in range(2)]
    duplicates = await asyncio.gather(
        *(gateway.http.post("/v1/orders", json=order_body(product_id), headers=headers) for _ in range(4))
    )

    [order_id] = {answer.json()["id"] for answer in (*answers, *duplicates)}
    assert query(databases["order"], "SELECT id::text FROM orders WHERE user_id = %s", user_id) == [(order_id,)]

    opening = OpenPaymentRequest(order_id=order_id, user_id=user_id, amount=1_250, currency="EUR")
    payments = [
        (await call(gateway.services.payment.OpenPayment, opening, caller=SERVICE, deadline=10)).payment
        for _ in range(2)
    ]
    assert payments[0] == payments[1]
    intents = query(databases["payment"], "SELECT intent_id FROM payments WHERE order_id = %s", order_id)
    assert len(intents) == 1

    assert [await reserve(gateway, order_id, {product_id: 2}) for _ in range(2)] == [None, None]
    assert await stock(gateway, product_id) == (5, 2, 3)


async def test_fault_4_a_webhook_that_stripe_did_not_sign_is_refused_and_a_payments_event_names_its_order(
    gateway: Gateway, databases: Mapping[str, str]
) -> None:
    order_id = new_id()
    opening = OpenPaymentRequest(
        order_id=order_id, user_id=new_id(), amount=1_250, currency="EUR", payment_method="pm_card_visa"
    )
    await call(gateway.services.payment.OpenPayment, opening, caller=SERVICE, deadline=10)

    forged = await gateway.http.post(
        "/webhooks/stripe", content=b"{}", headers={"Stripe-Signature": "t=1900000000,v1=00"}
    )

    assert (forged.status_code, forged.json()["type"]) == (400, "urn:ordersaga:problem:bad-webhook-signature")
    published = query(
        databases["payment"],
        "SELECT key, data::json->>'orderId' FROM outbox WHERE ce_type = 'payment.status_updated' AND key = %s",
        order_id,
    )
    assert published
    assert set(published) == {(order_id, order_id)}


async def test_fault_5_a_row_and_its_event_are_written_by_one_transaction(
    gateway: Gateway, databases: Mapping[str, str]
) -> None:
    user_id, customer = await sign_up(gateway)
    product_id = await add_product(gateway, units=1)
    headers = {**customer, "Idempotency-Key": new_id(), "Prefer": "wait=0"}
    order_id = (await gateway.http.post("/v1/orders", json=order_body(product_id), headers=headers)).json()["id"]
    opening = OpenPaymentRequest(order_id=order_id, user_id=user_id, amount=1_250, currency="EUR")
    await call(gateway.services.payment.OpenPayment, opening, caller=SERVICE, deadline=10)

    # xmin is the transaction that wrote a row's present version.
    for service, table, column, key in [
        ("user", "users", "id", user_id),
        ("product", "products", "id", product_id),
        ("inventory", "stock", "product_id", product_id),
        ("order", "order_transitions", "order_id", order_id),  # the order's row notes later that its saga was started
        ("payment", "payments", "order_id", order_id),
    ]:
        [(row_by,)] = query(databases[service], f"SELECT xmin::text FROM {table} WHERE {column} = %s", key)  # noqa: S608  # names from above
        events_by = query(databases[service], "SELECT xmin::text FROM outbox WHERE key = %s ORDER BY id", key)
        assert (row_by,) == events_by[-1], service


@contextmanager
def without_outbox(dsn: str) -> Iterator[None]:
    """No event can be written here."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("ALTER TABLE outbox RENAME TO outbox_away")
        try:
            yield
        finally:
            connection.execute("ALTER TABLE outbox_away RENAME TO outbox")


async def test_fault_5_what_cannot_be_told_does_not_happen(gateway: Gateway, databases: Mapping[str, str]) -> None:
    _, customer = await sign_up(gateway)
    product_id = await add_product(gateway)
    key = new_id()

    async def place() -> int:
        headers = {**customer, "Idempotency-Key": key, "Prefer": "wait=0"}
        return (await gateway.http.post("/v1/orders", json=order_body(product_id), headers=headers)).status_code

    async def reprice() -> int:
        path = f"/v1/products/{product_id}"
        return (await gateway.http.patch(path, json={"unit_price": 1}, headers=ADMIN)).status_code

    with without_outbox(databases["order"]), without_outbox(databases["product"]):
        assert [await place(), await reprice()] == [503, 503]

    assert (await gateway.http.get("/v1/orders", headers=customer)).json()["items"] == []
    assert (await gateway.http.get(f"/v1/products/{product_id}")).json()["unit_price"] == 1_250
    assert [await place(), await reprice()] == [202, 200]


async def test_fault_6_stock_has_one_master_and_a_changed_product_leaves_reservations_alone(
    gateway: Gateway, databases: Mapping[str, str]
) -> None:
    product_id = await add_product(gateway, units=5)
    await reserve(gateway, new_id(), {product_id: 3})

    with_stock = await gateway.http.patch(f"/v1/products/{product_id}", json={"stock": 9}, headers=ADMIN)
    changed = await gateway.http.patch(f"/v1/products/{product_id}", json={"unit_price": 990}, headers=ADMIN)

    assert (with_stock.status_code, changed.status_code) == (400, 200)
    assert await stock(gateway, product_id) == (5, 3, 2)
    columns = query(
        databases["product"], "SELECT column_name FROM information_schema.columns WHERE table_name = 'products'"
    )
    assert not {name for (name,) in columns if "stock" in name or "hand" in name or "quantity" in name}


async def test_fault_7_money_is_whole_minor_units_of_a_currency_everywhere(
    gateway: Gateway, databases: Mapping[str, str]
) -> None:
    _, customer = await sign_up(gateway)
    product_id = await add_product(gateway, unit_price=7)

    fractional = [
        await gateway.http.post("/v1/products", json={**MUG, "unit_price": 12.5}, headers=ADMIN),
        await gateway.http.patch(f"/v1/products/{product_id}", json={"unit_price": 7.5}, headers=ADMIN),
        await gateway.http.post(
            "/v1/orders",
            json=order_body(product_id, expected_total=0.07),
            headers={**customer, "Idempotency-Key": new_id()},
        ),
    ]
    quote = await call(
        gateway.services.product.Quote,
        QuoteRequest(lines=[OrderLine(product_id=product_id, quantity=10_000)], currency="EUR"),
        caller=SERVICE,
        deadline=10,
    )

    assert [answer.status_code for answer in fractional] == [400, 400, 400]
    assert (quote.total, quote.lines[0].unit_price) == (70_000, 7)
    for service, dsn in databases.items():
        types = query(
            dsn,
            "SELECT DISTINCT data_type FROM information_schema.columns"
            " WHERE table_schema = 'public' AND column_name ~ 'price|total|^amount'",
        )
        assert types in ([], [("bigint",)]), service
    priced = {"orders": "currency", "order_items": "unit_price"}
    for table, column in priced.items():
        assert query(
            databases["order"],
            "SELECT 1 FROM information_schema.columns WHERE table_name = %s AND column_name = %s",
            table,
            column,
        )


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer a.b.c"}, forged_bearer(), bearer(CallerRole.ADMIN, ttl=-60)],
    ids=["no token", "garbage", "forged", "expired"],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/users/me"),
        ("GET", "/v1/orders"),
        ("POST", "/v1/products"),
        ("GET", "/v1/payments/01932b5e-7c1a-7e4e-9c3d-2f6d1b8a4c55"),
    ],
)
async def test_fault_8_every_token_is_verified(
    gateway: Gateway, method: str, path: str, headers: dict[str, str]
) -> None:
    response = await gateway.http.request(method, path, headers=headers)

    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Bearer")


async def test_fault_8_a_login_error_is_401_and_each_status_comes_from_a_typed_refusal(gateway: Gateway) -> None:
    account = {"email": f"customer-{new_id()}@example.test", "password": PASSWORD, "name": "404 not found"}
    signed_up = await gateway.http.post("/v1/users", json=account)

    again = await gateway.http.post("/v1/users", json=account)
    wrong = await gateway.http.post("/v1/auth/token", json={"email": account["email"], "password": "wrong horse"})
    missing = await gateway.http.get(f"/v1/products/{new_id()}")

    assert signed_up.status_code == 201
    assert [(answer.status_code, answer.json()["type"].rpartition(":")[2]) for answer in (again, wrong, missing)] == [
        (409, "email-taken"),
        (401, "bad-credentials"),
        (404, "not-found"),
    ]


def test_fault_8_no_secret_stands_in_the_source() -> None:
    endings = ("_dsn", "_dsns", "private_key", "api_key", "_secret", "_password", "auth_token")
    secrets = [name for name in Settings.model_fields if name.endswith(endings)]

    assert {"user_dsn", "relay_dsns", "jwt_private_key", "stripe_api_key", "smtp_password", "twilio_auth_token"} <= set(
        secrets
    )
    assert not any(Settings.model_fields[name].get_default(call_default_factory=True) for name in secrets)


async def test_fault_9_mails_go_to_the_users_own_address_and_sms_to_the_number(
    gateway: Gateway, databases: Mapping[str, str], tmp_path: Path
) -> None:
    account = {"email": f"customer-{new_id()}@example.test", "password": PASSWORD, "name": "Customer"}
    user_id = (await gateway.http.post("/v1/users", json=account)).json()["id"]
    mail = {"channel": "email", "user_id": user_id, "subject": "Hello", "body": "Hello there"}
    sms = {"channel": "sms", "user_id": user_id, "phone": "+4915198765432", "message": "Hello there"}

    answers = [await gateway.http.post("/v1/notifications", json=body, headers=ADMIN) for body in (mail, sms)]
    async with (
        running_sink(tmp_path) as sink,
        sending_service(databases["notification"], gateway, sink.settings) as service,
    ):
        await send_all(service)
        mails, texts = [await sink.received(to=to) for to in (account["email"], sms["phone"])]

    assert [answer.status_code for answer in answers] == [202, 202]
    assert [(message["channel"], message["text"]) for message in (*mails, *texts)] == [
        ("email", "Hello there\n"),
        ("sms", "Hello there"),
    ]


async def test_fault_9_an_sms_that_cannot_be_sent_is_refused_and_never_answered_with_ok(
    databases: Mapping[str, str], tmp_path: Path
) -> None:
    async with gateway_with_services(databases, stripe_data=tmp_path, sms=None) as without_twilio:
        user_id, _ = await sign_up(without_twilio)
        sms = {"channel": "sms", "user_id": user_id, "phone": "+4915198765432", "message": "Hello there"}
        answer = await without_twilio.http.post("/v1/notifications", json=sms, headers=ADMIN)

    assert (answer.status_code, answer.json()["type"]) == (501, "urn:ordersaga:problem:sms-not-configured")
    assert query(databases["notification"], "SELECT 1 FROM notifications WHERE user_id = %s", user_id) == []
