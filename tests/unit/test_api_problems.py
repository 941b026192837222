"""Errors over HTTP: each a problem with a stable type, whoever raised it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import grpc
import httpx
import pytest
import pytest_asyncio
from litestar import Litestar, get

from api import problems
from api.problems import EXCEPTION_HANDLERS, Kind
from domain.refusals import Refusal
from runtime.caller import CallerRole
from runtime.refusal import CallRefused
from runtime.rpc_client import ServiceUnavailable
from tests.support.gateway import Gateway, gateway_without_services
from tests.support.identities import bearer

JSON = {"Content-Type": "application/json"}


@pytest_asyncio.fixture(scope="module")
async def gateway() -> AsyncIterator[Gateway]:
    async with gateway_without_services() as gateway:
        yield gateway


async def answer_to(error: Exception) -> httpx.Response:
    """What a request is answered whose handler raises the error."""

    @get("/")
    async def fail() -> None:
        raise error

    app = Litestar([fail], exception_handlers=EXCEPTION_HANDLERS, openapi_config=None, logging_config=None)
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]  # Litestar's own types
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as http:
        return await http.get("/")


def problem(response: httpx.Response, *, status: int, name: str) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert (response.status_code, body["status"], body["type"]) == (status, status, f"urn:ordersaga:problem:{name}")
    assert body["title"]
    assert body["detail"]
    return body


@pytest.mark.parametrize(
    ("refusal", "status", "name"),
    [
        (Refusal.INVALID_ARGUMENT, 400, "validation"),
        (Refusal.PERMISSION_DENIED, 403, "forbidden"),
        (Refusal.USER_NOT_FOUND, 404, "not-found"),
        (Refusal.EMAIL_TAKEN, 409, "email-taken"),
        (Refusal.BAD_CREDENTIALS, 401, "bad-credentials"),
        (Refusal.PRODUCT_NOT_FOUND, 404, "not-found"),
        (Refusal.ORDER_NOT_FOUND, 404, "not-found"),
        (Refusal.OUT_OF_STOCK, 409, "out-of-stock"),
        (Refusal.ADJUSTMENT_DIFFERS, 422, "idempotency-key-reused"),
        (Refusal.NOTIFICATION_DIFFERS, 422, "idempotency-key-reused"),
        (Refusal.SMS_NOT_CONFIGURED, 501, "sms-not-configured"),
        (Refusal.IDEMPOTENCY_KEY_REUSED, 422, "idempotency-key-reused"),
        (Refusal.IDEMPOTENCY_KEY_IN_USE, 409, "idempotency-key-in-use"),
        (Refusal.BAD_WEBHOOK_SIGNATURE, 400, "bad-webhook-signature"),
        (Refusal.BAD_WEBHOOK_BODY, 400, "bad-webhook-body"),
    ],
)
async def test_a_services_refusal_has_its_own_problem(refusal: Refusal, status: int, name: str) -> None:
    problem(await answer_to(CallRefused(refusal, "refused", {})), status=status, name=name)


async def test_a_services_field_faults_carry_the_names_that_http_knows() -> None:
    faults = {"lines[3].quantity": "must be from 1 to 10000", "page_token": "must be empty"}

    body = problem(await answer_to(CallRefused(Refusal.INVALID_ARGUMENT, "…", faults)), status=400, name="validation")

    assert body["errors"] == [
        {"field": "lines[3].quantity", "message": "must be from 1 to 10000"},
        {"field": "cursor", "message": "must be empty"},
    ]


async def test_a_refusal_that_no_route_expects_is_a_defect() -> None:
    problem(await answer_to(CallRefused(Refusal.RESERVATION_RELEASED, "…", {})), status=500, name="internal")


async def test_a_service_that_is_away_is_503_with_retry_after() -> None:
    response = await answer_to(ServiceUnavailable("user", grpc.StatusCode.DEADLINE_EXCEEDED, "too slow"))

    body = problem(response, status=503, name="service-unavailable")
    assert "user service" in body["detail"]
    assert response.headers["retry-after"] == "1"


async def test_a_defect_shows_nothing_of_its_inside() -> None:
    response = await answer_to(RuntimeError("password=secret"))

    problem(response, status=500, name="internal")
    assert "secret" not in response.text


def test_types_are_unique_and_kebab_case() -> None:
    kinds = [kind for kind in vars(problems).values() if isinstance(kind, Kind)]

    assert len({kind.name for kind in kinds}) == len(kinds)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", kind.name) for kind in kinds)


@pytest.mark.parametrize("path", ["/nothing", "/v1/nothing", "/docs/nothing", "/docs/assets/nothing"])
async def test_an_unknown_route_is_a_problem(gateway: Gateway, path: str) -> None:
    problem(await gateway.http.get(path), status=404, name="not-found")


async def test_a_method_that_a_route_lacks_names_those_it_has(gateway: Gateway) -> None:
    response = await gateway.http.delete("/v1/products")

    problem(response, status=405, name="method-not-allowed")
    assert {"GET", "POST"} <= set(response.headers["allow"].split(", "))


async def test_a_body_over_one_mebibyte_is_too_large(gateway: Gateway) -> None:
    async def in_chunks() -> AsyncIterator[bytes]:
        for _ in range(17):
            yield b" " * 65_536

    announced = await gateway.http.post("/v1/users", content=b" " * (1 << 20) + b"{}", headers=JSON)
    streamed = await gateway.http.post(
        "/webhooks/stripe", content=in_chunks(), headers={"Stripe-Signature": "t=1,v1=0"}
    )

    problem(announced, status=413, name="content-too-large")
    problem(streamed, status=413, name="content-too-large")


async def test_an_empty_body_is_called_empty(gateway: Gateway) -> None:
    body = problem(await gateway.http.post("/v1/users", headers=JSON), status=400, name="malformed-json")

    assert body["detail"] == "The body is empty."


async def test_parameters_out_of_range_are_named(gateway: Gateway) -> None:
    for limit in ("0", "101", "many"):
        body = problem(await gateway.http.get("/v1/products", params={"limit": limit}), status=400, name="validation")
        assert [fault["field"] for fault in body["errors"]] == ["limit"]


async def test_stripe_is_told_to_come_again_when_its_event_cannot_be_stored(gateway: Gateway) -> None:
    response = await gateway.http.post("/webhooks/stripe", content=b"{}", headers={"Stripe-Signature": "t=1,v1=0"})

    problem(response, status=503, name="service-unavailable")


async def test_a_token_is_looked_at_before_the_body(gateway: Gateway) -> None:
    problem(await gateway.http.post("/v1/products", content=b"{"), status=401, name="missing-token")
    customer = await gateway.http.post("/v1/products", content=b"{", headers=bearer(CallerRole.CUSTOMER))
    problem(customer, status=403, name="forbidden")


async def test_the_description_names_every_operation_and_its_problems(gateway: Gateway) -> None:
    description = (await gateway.http.get("/docs/openapi.json")).json()

    operations = [operation for path in description["paths"].values() for operation in path.values()]
    assert description["openapi"].startswith("3.1")
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    described = {tag["name"] for tag in description["tags"]}
    assert {tag for operation in operations for tag in operation["tags"]} == described
    for operation in operations:
        for status, response in operation["responses"].items():
            answer = "text/event-stream" if operation["operationId"] == "streamOrderEvents" else "application/json"
            media_type = answer if status < "400" else "application/problem+json"
            expected = [] if status in ("204", "304") else [media_type]
            assert list(response.get("content", [])) == expected, operation["operationId"]


async def test_the_documentation_page_loads_only_from_here(gateway: Gateway) -> None:
    page = await gateway.http.get("/docs")

    assert page.headers["content-type"].startswith("text/html")
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert links
    for link in links:
        assert (await gateway.http.get(link)).status_code == 200
