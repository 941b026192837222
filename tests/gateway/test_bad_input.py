"""Bad input over HTTP: a 4xx that says what is wrong, and nothing has changed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from domain.ids import new_id
from runtime.caller import CallerRole
from tests.support.gateway import Gateway, gateway_with_services, order_body
from tests.support.identities import bearer, forged_bearer

CUSTOMER = bearer(CallerRole.CUSTOMER)
ADMIN = bearer(CallerRole.ADMIN)
KEY = {"Idempotency-Key": "key"}
JSON = {"Content-Type": "application/json"}
PRODUCT = {"name": "Mug", "unit_price": 1_250, "currency": "EUR"}
USER = {"email": "customer@example.test", "password": "correct horse", "name": "Customer"}


@pytest_asyncio.fixture(scope="module")
async def gateway(databases: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    async with gateway_with_services(databases, stripe_data=tmp_path_factory.mktemp("stripe")) as gateway:
        yield gateway


@pytest.fixture
def rows(databases: Mapping[str, str]) -> Any:
    """Counts what requests could have written."""
    tables = [
        ("user", "users"),
        ("product", "products"),
        ("inventory", "movements"),
        ("order", "orders"),
        ("order", "idempotency_keys"),
    ]

    def count() -> list[int]:
        counts = []
        for service, table in tables:
            with psycopg.connect(databases[service]) as connection:
                row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608  # names from above
                assert row is not None
                counts.append(int(row[0]))
        return counts

    return count


def of(kind: str, *fields: str) -> dict[str, Any]:
    return {"type": f"urn:ordersaga:problem:{kind}", "fields": set(fields)}


CASES = {
    "order: fields out of range": (
        "/v1/orders",
        {
            "json": order_body(
                lines=[{"product_id": "1", "quantity": 0}],
                currency="XXX",
                payment_window_seconds=0,
                expected_total=-1,
                note="please hurry",
            ),
            "headers": {**CUSTOMER, **KEY},
        },
        (
            400,
            of(
                "validation",
                "lines[0].product_id",
                "lines[0].quantity",
                "currency",
                "payment_window_seconds",
                "expected_total",
                "note",
            ),
        ),
    ),
    "order: too many units of one product": (
        "/v1/orders",
        {
            "json": order_body(lines=[{"product_id": "01932b5e-7c1a-7e4e-9c3d-2f6d1b8a4c55", "quantity": 5_001}] * 2),
            "headers": {**CUSTOMER, **KEY},
        },
        (400, of("validation", "lines[0].quantity")),
    ),
    "order: no idempotency key": (
        "/v1/orders",
        {"json": order_body(), "headers": CUSTOMER},
        (400, of("idempotency-key-missing")),
    ),
    "order: idempotency key too long": (
        "/v1/orders",
        {"json": order_body(), "headers": {**CUSTOMER, "Idempotency-Key": "k" * 256}},
        (400, of("validation", "Idempotency-Key")),
    ),
    "order: empty idempotency key": (
        "/v1/orders",
        {"json": order_body(), "headers": {**CUSTOMER, "Idempotency-Key": ""}},
        (400, of("validation", "Idempotency-Key")),
    ),
    "order: idempotency key not ASCII": (
        "/v1/orders",
        {"json": order_body(), "headers": [*CUSTOMER.items(), ("Idempotency-Key", b"k\xc3\xa9y")]},
        (400, of("validation", "Idempotency-Key")),
    ),
    "order: malformed JSON": (
        "/v1/orders",
        {"content": b'{"lines": [', "headers": {**CUSTOMER, **KEY, **JSON}},
        (400, of("malformed-json")),
    ),
    "order: JSON that is no object": (
        "/v1/orders",
        {"json": [order_body()], "headers": {**CUSTOMER, **KEY}},
        (400, of("validation", "body")),
    ),
    "order: wrong content type": (
        "/v1/orders",
        {"content": b"{}", "headers": {**CUSTOMER, **KEY, "Content-Type": "text/plain"}},
        (415, of("unsupported-media-type")),
    ),
    "order: no token": ("/v1/orders", {"json": order_body(), "headers": KEY}, (401, of("missing-token"))),
    "order: another scheme": (
        "/v1/orders",
        {"json": order_body(), "headers": {**KEY, "Authorization": "Basic Y3VzdG9tZXI6"}},
        (401, of("missing-token")),
    ),
    "order: expired token": (
        "/v1/orders",
        {"json": order_body(), "headers": {**KEY, **bearer(CallerRole.CUSTOMER, ttl=-60)}},
        (401, of("expired-token")),
    ),
    "order: garbage for a token": (
        "/v1/orders",
        {"json": order_body(), "headers": {**KEY, "Authorization": "Bearer a.b.c"}},
        (401, of("invalid-token")),
    ),
    "product: forged admin token": (
        "/v1/products",
        {"json": PRODUCT, "headers": forged_bearer()},
        (401, of("invalid-token")),
    ),
    "product: a customer's token": (
        "/v1/products",
        {"json": PRODUCT, "headers": CUSTOMER},
        (403, of("forbidden")),
    ),
    "product: fields out of range": (
        "/v1/products",
        {"json": {"name": "", "unit_price": 10**15 + 1, "currency": "eur", "stock": 5}, "headers": ADMIN},
        (400, of("validation", "name", "unit_price", "currency", "stock")),
    ),
    "adjustment: malformed id": (
        "/v1/inventory/mug/adjustments",
        {"json": {"delta": 1}, "headers": ADMIN},
        (400, of("validation", "product_id")),
    ),
    "adjustment: malformed id and nothing to change": (
        "/v1/inventory/mug/adjustments",
        {"json": {"delta": 0}, "headers": ADMIN},
        (400, of("validation", "product_id", "delta")),
    ),
    "adjustment: a customer's token": (
        f"/v1/inventory/{new_id()}/adjustments",
        {"json": {"delta": 1}, "headers": CUSTOMER},
        (403, of("forbidden")),
    ),
    "user: wrong fields": (
        "/v1/users",
        {"json": {**USER, "email": "nobody", "password": "short", "role": "admin"}},
        (400, of("validation", "email", "password", "role")),
    ),
    "user: a number for a name": ("/v1/users", {"json": {**USER, "name": 7}}, (400, of("validation", "name"))),
    "token: nothing sent": (
        "/v1/auth/token",
        {"json": {}},
        (400, of("validation", "email", "password")),
    ),
}


@pytest.mark.parametrize(("path", "request_parts", "expected"), CASES.values(), ids=CASES)
async def test_bad_input_is_refused_by_name_and_changes_nothing(
    gateway: Gateway, rows: Any, path: str, request_parts: dict[str, Any], expected: tuple[int, dict[str, Any]]
) -> None:
    before = rows()

    response = await gateway.http.post(path, **request_parts)

    status, problem = expected
    body = response.json()
    assert (response.status_code, body["status"], body["type"]) == (status, status, problem["type"])
    assert {violation["field"] for violation in body.get("errors", [])} == problem["fields"]
    assert response.headers["content-type"] == "application/problem+json"
    assert ("www-authenticate" in response.headers) is (status == 401)
    assert rows() == before


@pytest.mark.parametrize("path", ["/v1/orders/1", "/v1/products/1", "/v1/inventory/1"])
async def test_a_malformed_id_in_a_path_is_named(gateway: Gateway, path: str) -> None:
    response = await gateway.http.get(path, headers=ADMIN)

    assert response.status_code == 400
    assert len(response.json()["errors"]) == 1
    assert response.json()["errors"][0]["field"] in ("order_id", "product_id")
