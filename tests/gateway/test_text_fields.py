"""Hostile text in every field that takes text: refused by name, or taken, and shown as what it is.

The fields come from the OpenAPI document (`tests/support/text_fields.py`), so that a new one has its cases by itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Final, cast
from urllib.parse import quote

import httpx
import pytest
import pytest_asyncio

from api.app import create_app
from api.services import Services
from runtime.caller import CallerRole
from services.notification.messenger import Message
from tests.support.access import Headers, Things, good_request, make_things, open_account, path_of
from tests.support.gateway import Gateway, gateway_with_services
from tests.support.hostile_texts import HOSTILE, ONLY_TEXT
from tests.support.identities import VERIFIER, bearer
from tests.support.rows import Rows, counting_rows
from tests.support.text_fields import TextField, Where, find, put, text_fields

FIELDS: Final = list(text_fields(create_app(cast("Services", None), VERIFIER).openapi_schema.to_schema()))
COMPARED: Final = frozenset(
    {
        *("password", "current_password", "token", "refresh_token"),
        *("createToken email", "requestPasswordReset email", "requestGuestLink email"),
        *("Prefer", "If-None-Match", "Stripe-Signature"),
    }
)
"""Fields whose text is compared with something and shown to nobody. It may hold what it likes."""
MULTI_LINE: Final = frozenset({"description", "body", "message"})
"""Fields where an end of a line is one."""
SHOWN: Final = frozenset(
    {
        *("name", "description", "metadata.key", "shipping_address.name", "shipping_address.line1"),
        *("shipping_address.line2", "shipping_address.city"),
    }
)
"""Fields that the answer to the request shows."""
NO_HEADER: Final = frozenset({"NUL", "CR LF"})
"""What no header can hold: the server refuses it (`test_strange_requests`)."""
FOR_STAFF: Final = ("/refunds", "/refund-approvals", "/guest")
ABOUT_ONESELF: Final = ("/v1/users/me", "/v1/auth", "/v1/password-resets", "/v1/orders")


class NoSms:
    """A messenger for SMS, with which they can be queued."""

    async def send(self, message: Message) -> None:
        raise AssertionError("nobody works the queue off here")


@pytest_asyncio.fixture(scope="module")
async def gateway(databases: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    stripe_data = tmp_path_factory.mktemp("stripe")
    async with gateway_with_services(databases, stripe_data=stripe_data, sms=NoSms()) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def rows(databases: Mapping[str, str]) -> Iterator[Rows]:
    with counting_rows(databases) as count:
        yield count


def is_compared(field: TextField) -> bool:
    return bool({field.name, f"{field.operation} {field.name}"} & COMPARED)


def is_of_back_end(field: TextField) -> bool:
    """Whether the shop's back end alone may give it."""
    return field.name.startswith(("customer", "adjustments")) and field.where is Where.BODY


def caller_of(field: TextField, things: Things) -> Headers:
    """Who may ask for the field's route."""
    _, path = field.route.split()
    is_oneself = path.startswith(ABOUT_ONESELF) and not path.endswith(FOR_STAFF) and not is_of_back_end(field)
    return things.owner.headers if is_oneself else bearer(CallerRole.ADMIN)


async def send(gateway: Gateway, field: TextField, text: str, things: Things) -> httpx.Response:
    """A request that is good but for the text."""
    good = await good_request(gateway, field.route, things)
    if field.operation == "sendNotification" and field.name in ("phone", "message"):
        good["json"] = {"channel": "sms", "user_id": things.owner.id, "phone": "+15005550006", "message": "Hello."}
    if field.operation == "placeOrder" and is_of_back_end(field):
        good["json"]["customer"] = things.owner.id
    text = f"wait=0, {text}" if field.name == "Prefer" else text  # which waits for seconds else
    parts = put(text, field, good.get("json"))
    headers = {**good.get("headers", {}), **caller_of(field, things), "Content-Type": "application/json"}
    return await gateway.http.request(
        field.route.partition(" ")[0],
        path_of(field.route, things, **parts.path),
        params=dict(parts.query) or None,
        headers={**{name: value.encode() for name, value in headers.items()}, **parts.headers},
        content=good.get("content", parts.content),
    )


def texts_for(field: TextField) -> Iterator[tuple[str, str]]:
    """The texts that can be sent there at all."""
    for kind, text in HOSTILE.items():
        if field.where is Where.HEADER and kind in NO_HEADER:
            continue
        if kind != "lone surrogate" or field.where in (Where.BODY, Where.KEY):
            yield kind, text


def check_form(answer: httpx.Response) -> None:
    """It is no page, whatever a browser guesses, and our fault in no way."""
    assert answer.status_code < 500
    if answer.content:
        kind = "application/json" if answer.is_success else "application/problem+json"
        assert answer.headers["content-type"] == kind
    assert answer.headers["x-content-type-options"] == "nosniff"


def check_refusal(answer: httpx.Response, field: TextField, kind: str) -> None:
    """It names the field, and says what has to be otherwise."""
    problem = answer.json()
    if kind == "lone surrogate":  # it is no JSON, and has no fields yet
        assert (answer.status_code, problem["type"]) == (400, "urn:ordersaga:problem:malformed-json")
        assert "byte" in problem["detail"]
        return
    assert (answer.status_code, problem["type"]) == (400, "urn:ordersaga:problem:validation"), problem
    [error] = problem["errors"]
    assert error["field"] == field.named()
    assert len(error["message"]) > len("is wrong")


def is_for_mails(field: TextField) -> bool:
    """Whether the text is shown in mails alone."""
    return field.operation == "sendNotification" or (field.operation, field.name) == ("placeGuestOrder", "name")


def shown_by(field: TextField, answer: httpx.Response) -> Any:
    """What the answer shows of what was sent."""
    return answer.json()["order"] if field.operation == "placeGuestOrder" else answer.json()


def is_only_text(field: TextField, kind: str) -> bool:
    """Whether the field may take it."""
    return kind in ONLY_TEXT or (kind == "CR LF" and field.name in MULTI_LINE)


@pytest.mark.parametrize("field", [field for field in FIELDS if not is_compared(field)], ids=str)
async def test_text_that_is_more_than_it_seems_is_refused_by_name(
    gateway: Gateway, rows: Rows, field: TextField
) -> None:
    things = await make_things(gateway)
    before = rows()
    for kind, text in texts_for(field):
        if not is_only_text(field, kind):
            answer = await send(gateway, field, text, things)

            check_form(answer)
            check_refusal(answer, field, kind)

    assert rows() == before


@pytest.mark.parametrize("field", FIELDS, ids=str)
async def test_ugly_text_is_refused_or_shown_as_it_is(gateway: Gateway, field: TextField) -> None:
    things = await make_things(gateway)
    for kind, text in texts_for(field):
        if not is_only_text(field, kind) and not is_compared(field):
            continue
        answer = await send(gateway, field, text, things)

        check_form(answer)
        if answer.is_success:
            shown = find(field, text, shown_by(field, answer)) if answer.content else None
            assert shown in (text, None), kind
            assert shown is not None or field.name not in SHOWN or is_for_mails(field), kind
        elif answer.status_code == 400 and not is_compared(field):
            check_refusal(answer, field, kind)


async def test_an_order_shows_its_texts_wherever_it_is_read(gateway: Gateway) -> None:
    customer = (await open_account(gateway)).headers
    things = await make_things(gateway)
    for kind in sorted(ONLY_TEXT - {"10 kB"}):
        text = HOSTILE[kind]
        good = await good_request(gateway, "POST /v1/orders", things)
        good["json"]["shipping_address"] |= {"name": text, "line1": text}
        good["json"]["metadata"] = {"note": text}
        placed = await gateway.http.post("/v1/orders", json=good["json"], headers={**good["headers"], **customer})
        read = await gateway.http.get(placed.headers["location"], headers=customer)

        assert (placed.status_code, read.status_code) == (202, 200)
        for answer in (placed.json(), read.json()):
            assert answer["shipping_address"]["name"] == answer["shipping_address"]["line1"] == text
            assert answer["metadata"] == {"note": text}


async def test_a_session_shows_what_is_seen_of_its_client(gateway: Gateway) -> None:
    account = await open_account(gateway)
    for kind, text in HOSTILE.items():
        if kind in (*NO_HEADER, "lone surrogate"):
            continue
        answer = await gateway.http.post(
            "/v1/auth/token",
            json={"email": account.email, "password": "correct horse"},
            headers={b"User-Agent": text.encode()},
        )
        assert answer.status_code == 200
        listed = await gateway.http.get("/v1/users/me/sessions", headers=account.headers)

        latest = listed.json()["items"][0]["user_agent"]
        # a header has bytes, each of which is read as a letter
        assert latest == "".join(letter for letter in text.encode().decode("latin-1") if is_seen(letter))[:200]


def is_seen(letter: str) -> bool:
    return letter.isprintable() or letter == "\xa0"


HEADERS: Final = (
    *("User-Agent", "X-Request-Id", "X-Forwarded-For", "Accept", "Accept-Encoding", "Accept-Language", "Origin"),
    *("Referer", "traceparent", "tracestate", "Cookie", "Content-Type", "Content-Encoding", "If-Match", "Prefer"),
    *("If-None-Match", "Authorization", "Stripe-Signature", "Range", "Expect", "X-HTTP-Method-Override"),
)
"""What anybody may send to anything, documented or not."""


@pytest.mark.parametrize("name", HEADERS)
async def test_hostile_headers_break_nothing(gateway: Gateway, name: str) -> None:
    things = await make_things(gateway)
    for route in ("GET /v1/products", "GET /v1/orders/{order_id}", "POST /v1/orders", "GET /docs"):
        good = await good_request(gateway, route, things)
        for kind, text in HOSTILE.items():
            if kind in (*NO_HEADER, "lone surrogate"):
                continue
            headers = {**good.get("headers", {}), **things.owner.headers}
            answer = await gateway.http.request(
                route.partition(" ")[0],
                path_of(route, things),
                json=good.get("json"),
                headers={**{each: value.encode() for each, value in headers.items()}, name: text.encode()},
            )

            assert answer.status_code < 500
            assert all(letter.isprintable() for value in answer.headers.values() for letter in value)
            for value in answer.headers.values():
                assert text not in value


@pytest.mark.parametrize("kind", [kind for kind in HOSTILE if kind != "lone surrogate"])
async def test_no_page_shows_what_somebody_asked_for(gateway: Gateway, kind: str) -> None:
    text = HOSTILE[kind]
    for path in ("/docs", "/docs/guide", "/docs/problems", "/docs/openapi.json"):
        plain = await gateway.http.get(path)
        answer = await gateway.http.get(path, params={"q": text, text: "q"})
        assert (answer.status_code, answer.content) == (200, plain.content)

    from_nowhere = await gateway.http.get(f"/docs/{quote(text, safe='')}")

    check_form(from_nowhere)
    assert from_nowhere.status_code in (400, 404)


async def test_every_field_of_the_document_that_takes_text_is_tried() -> None:
    """Read off another way: what the document says of strings, counted."""
    document: dict[str, Any] = create_app(cast("Services", None), VERIFIER).openapi_schema.to_schema()
    operations = {field.operation for field in FIELDS}
    with_body = {
        operation["operationId"]
        for path in document["paths"].values()
        for operation in path.values()
        if isinstance(operation, dict) and "application/json" in operation.get("requestBody", {}).get("content", {})
    }

    assert with_body - operations == {"receiveStripeEvent"} - operations
    assert {field.name for field in FIELDS} >= SHOWN | {"note", "subject", "message", "cursor", "Idempotency-Key"}
