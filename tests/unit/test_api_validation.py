"""Decoding of request bodies: what passes, and that every fault is named at once."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from api.problems import MALFORMED_JSON, UNSUPPORTED_MEDIA_TYPE, VALIDATION, Kind, ProblemError
from api.schemas.notifications import NewEmail, NewNotification, NewSms
from api.schemas.orders import NewOrder
from api.schemas.products import NewProduct
from api.schemas.users import NewUser
from api.validation import MAX_VIOLATIONS, decode, require_json
from domain.ids import new_id
from domain.texts import PLAIN_LINE_RULE, PLAIN_LINES_RULE
from tests.support.gateway import order_body

ID = "01932b5e-7c1a-7e4e-9c3d-2f6d1b8a4c55"


def refused(body: bytes, kind: Any = NewOrder) -> ProblemError:
    with pytest.raises(ProblemError) as caught:
        decode(body, kind)
    return caught.value


def faults(body: object, kind: Any = NewOrder) -> dict[str, str]:
    problem = refused(json.dumps(body).encode(), kind)
    assert problem.kind == VALIDATION
    return {fault.field: fault.message for fault in problem.violations}


def test_an_order_gets_its_defaults() -> None:
    order = decode(json.dumps(order_body()).encode(), NewOrder)

    assert (order.payment_window_seconds, order.payment_method, order.expected_total) == (None, None, None)


def test_every_fault_is_named_at_once() -> None:
    body = {
        "lines": [{"product_id": "x", "quantity": 0, "colour": "red"}, {"quantity": "2"}, 7],
        "currency": "eur",
        "shipping_address": {"name": "", "line1": "1 High Street", "city": 5, "postal_code": "", "country": "de"},
        "payment_window_seconds": 86_401,
        "expected_total": -1,
        "coupon": "SPRING",
    }

    assert faults(body).keys() == {
        "lines[0].product_id",
        "lines[0].quantity",
        "lines[0].colour",
        "lines[1].product_id",
        "lines[1].quantity",
        "lines[2]",
        "currency",
        "shipping_address.name",
        "shipping_address.city",
        "shipping_address.postal_code",
        "shipping_address.country",
        "payment_window_seconds",
        "expected_total",
        "coupon",
    }


def test_a_fault_says_what_the_field_must_be() -> None:
    named = faults(order_body(currency="XXX", lines=[{"product_id": new_id(), "quantity": 10_001}]))

    assert named == {
        "currency": "must be an ISO 4217 currency code in capitals, for example EUR",
        "lines[0].quantity": "must be a whole number from 1 to 10000",
    }


@pytest.mark.parametrize("quantity", [0, -1, 10_001, 1.5, 10_001.0, 1e300, "1", True, None, 10**30])
def test_a_quantity_is_a_whole_number_in_range(quantity: object) -> None:
    body = order_body(lines=[{"product_id": new_id(), "quantity": quantity}])

    assert faults(body).keys() == {"lines[0].quantity"}


def test_a_whole_number_may_be_written_with_a_fraction_of_nothing() -> None:
    body = order_body(lines=[{"product_id": ID, "quantity": 2.0}], expected_total=1e3)

    order = decode(json.dumps(body).encode(), NewOrder)

    assert [type(order.lines[0].quantity), order.lines[0].quantity, order.expected_total] == [int, 2, 1_000]


@pytest.mark.parametrize(
    "product_id", ["", "x", "01932b5e7c1a7e4e9c3d2f6d1b8a4c55", ID.upper(), f"{ID}\n", f" {ID}", 5]
)
def test_an_id_is_a_uuid_in_canonical_form(product_id: object) -> None:
    body = order_body(lines=[{"product_id": product_id, "quantity": 1}])

    assert faults(body).keys() == {"lines[0].product_id"}


@pytest.mark.parametrize("lines", [[], [{"product_id": new_id(), "quantity": 1}] * 1_001, {}, None, "all"])
def test_an_order_has_1_to_1000_lines(lines: object) -> None:
    assert faults(order_body(lines=lines)) == {"lines": "must be a list of 1 to 1000 lines"}


@pytest.mark.parametrize("currency", ["eur", "EURO", "XXX", "EUR\n", "", 978])
def test_a_currency_is_an_iso_4217_code(currency: object) -> None:
    assert faults(order_body(currency=currency)).keys() == {"currency"}


@pytest.mark.parametrize("email", ["customer", "customer@", "@example.test", "a@b", "a b@example.test", "a\x00@b.test"])
def test_an_email_looks_like_one(email: str) -> None:
    body = {"email": email, "password": "correct horse", "name": "Customer"}

    assert faults(body, NewUser).keys() == {"email"}


def test_text_that_the_database_cannot_store_is_refused() -> None:
    body = {"name": "nul\x00", "unit_price": 1, "currency": "EUR"}

    assert faults(body, NewProduct).keys() == {"name"}


def test_optional_fields_may_be_null_but_not_wrong() -> None:
    address = {"user_id": ID, "channel": "email", "subject": "Hello", "body": "Hello"}

    assert decode(json.dumps({**address, "to": None}).encode(), NewEmail).to is None
    assert faults({**address, "to": "nobody"}, NewEmail).keys() == {"to"}


@pytest.mark.parametrize("body", [b"[]", b"5", b'"order"', b"null"])
def test_a_body_that_is_no_object_is_named_as_a_whole(body: bytes) -> None:
    problem = refused(body)

    assert [fault.field for fault in problem.violations] == ["body"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{'lines': []}",
        b'{"lines": []} x',
        b'{"lines": NaN}',
        b'{"currency": "\xff"}',
        b'{"currency": "\\ud800"}',
        b'{"lines": ' + b"[" * 100_000,
        b'{"coupon": ' + b"[" * 100_000,
        b'{"expected_total": ' + b"9" * 5_000 + b"}",
    ],
    ids=lambda body: body[:20].decode(errors="replace"),
)
def test_what_is_not_json_is_called_malformed(body: bytes) -> None:
    assert refused(body).kind == MALFORMED_JSON


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=utf-8"])
def test_json_is_taken_by_its_media_type(content_type: str) -> None:
    require_json(content_type)


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonp"])
def test_other_media_types_are_refused(content_type: str) -> None:
    with pytest.raises(ProblemError) as caught:
        require_json(content_type)

    kind: Kind = caught.value.kind
    assert kind == UNSUPPORTED_MEDIA_TYPE


def test_the_search_for_faults_ends_when_there_are_very_many() -> None:
    problem = refused(json.dumps(order_body(lines=[0] * 100_000)).encode())

    assert len(problem.violations) == MAX_VIOLATIONS
    assert "maybe more" in problem.detail


MAIL = {"channel": "email", "user_id": ID, "subject": "Hello", "body": "Good news."}
SMS = {"channel": "sms", "user_id": ID, "phone": "+15005550006", "message": "Good news."}


def test_a_notification_is_what_its_channel_says() -> None:
    kind: Any = NewNotification
    mail, sms = (decode(json.dumps(body).encode(), kind) for body in (MAIL, SMS))

    assert mail == NewEmail(user_id=ID, subject="Hello", body="Good news.")
    assert sms == NewSms(user_id=ID, phone="+15005550006", message="Good news.")
    assert msgspec.json.decode(msgspec.json.encode(mail)) == {**MAIL, "to": None}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ([], {"body": "must be a JSON object"}),
        ({}, {"channel": "is missing; must be email or sms"}),
        ({**MAIL, "channel": "fax"}, {"channel": "must be email or sms"}),
        ({**MAIL, "channel": None}, {"channel": "must be email or sms"}),
        ({**MAIL, "channel": ["email"]}, {"channel": "must be email or sms"}),
        ({**MAIL, "subject": "two\nlines"}, {"subject": f"must be a line of 1 to 200 characters {PLAIN_LINE_RULE}"}),
        ({**MAIL, "phone": "+15005550006"}, {"phone": "is not a field of this request"}),
        ({**SMS, "message": "x" * 1_601}, {"message": f"must be text of 1 to 1600 characters {PLAIN_LINES_RULE}"}),
        *(
            ({**SMS, "phone": phone}, {"phone": "must be a telephone number in E.164 form, for example +15005550006"})
            for phone in (
                "15005550006",
                "+05005550006",
                "+1 500 555",
                "+1234567890123456",
                "+15005550006\n",
                15005550006,
            )
        ),
    ],
)
def test_a_notifications_faults_are_those_of_its_channel(body: object, expected: dict[str, str]) -> None:
    assert faults(body, NewNotification) == expected
