"""Payloads in histories: what our converter writes is what the SDK's writes, and each reads the other's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.converter import DataConverter

from domain.orders import CancelledBy, OrderLine, OrderStatus, PricedLine
from domain.payments import PaymentStatus
from domain.saga import (
    CancelRequest,
    CheckPaymentRequest,
    Marked,
    OrderInput,
    OrderResult,
    PaymentState,
    Quote,
    Resumption,
    SagaPolicy,
)
from runtime.temporal_codec import PLAIN

OURS, SDKS = PLAIN.payload_converter, DataConverter.default.payload_converter
MARKED = Marked(
    status=OrderStatus.PENDING, reason=None, payment_deadline=datetime(2026, 11, 30, 12, 0, 0, 5, tzinfo=UTC)
)
QUOTE = Quote(lines=[PricedLine("cup", 2, 1_250, name="Tasse, grün \u2028")], total=2_500, currency="EUR")
INPUT = OrderInput(
    order_id="o",
    user_id="u",
    lines=[OrderLine("cup", 2)],
    currency="EUR",
    payment_method=None,
    expected_total=2_500,
    payment_window_seconds=900,
    policy=SagaPolicy(payment_attempts=3, attention_after_seconds=60, payment_event_patience_seconds=0.5),
    adjustment=-100,
)
VALUES: Sequence[tuple[Any, Any]] = (
    (INPUT, OrderInput),
    (QUOTE, Quote),
    (MARKED, Marked),
    (Resumption(order=MARKED, quote=QUOTE), Resumption),
    (OrderResult(order_id="o", status=OrderStatus.PAID, reason=None), OrderResult),
    (CancelRequest(cancelled_by=CancelledBy.CUSTOMER), CancelRequest),
    (
        PaymentState(
            payment_id="p", status=PaymentStatus.SUCCEEDED, amount_received=1, currency="EUR", failed_attempts=0
        ),
        PaymentState,
    ),
    ("evt_1", str),
    (7, int),
    (True, bool),
    ([1, "two", None, 3.5, {"four": 5}], None),
    ({"b": 1, "a": [OrderLine("cup", 2)]}, dict[str, Any]),
    (None, None),
    (b"raw", bytes),
)


@pytest.mark.parametrize(("value", "hint"), VALUES, ids=lambda value: str(value)[:30])
def test_each_of_the_two_reads_what_the_other_wrote_as_it_reads_its_own(value: object, hint: Any) -> None:
    hints = None if hint is None else [hint]
    ours, theirs = OURS.to_payloads([value]), SDKS.to_payloads([value])

    assert [payload.metadata for payload in ours] == [payload.metadata for payload in theirs]
    assert OURS.from_payloads(theirs, hints) == SDKS.from_payloads(theirs, hints)
    assert SDKS.from_payloads(ours, hints) == OURS.from_payloads(ours, hints) == SDKS.from_payloads(theirs, hints)


def test_the_json_has_the_same_keys_in_the_same_order() -> None:
    ours, theirs = (converter.to_payloads([INPUT])[0].data for converter in (OURS, SDKS))

    assert ours == theirs


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ({"status": "NOPE", "reason": None, "payment_deadline": None}, Marked),
        ({"status": "PAID"}, Marked),
        ({"order_id": 1, "refresh": True}, CheckPaymentRequest),
        ("seven", int),
        (7, str),
        ([], Marked),
    ],
)
def test_what_does_not_fit_its_type_fails_as_with_the_sdk(written: object, hint: type) -> None:
    payloads = SDKS.to_payloads([written])

    for converter in (OURS, SDKS):
        with pytest.raises(TypeError):
            converter.from_payloads(payloads, [hint])


def test_a_field_of_a_newer_version_is_left_out() -> None:
    payloads = SDKS.to_payloads([{"status": "PAID", "reason": None, "payment_deadline": None, "newer": 1}])

    assert OURS.from_payloads(payloads, [Marked]) == [
        Marked(status=OrderStatus.PAID, reason=None, payment_deadline=None)
    ]


def test_what_is_no_json_fails_as_with_the_sdk() -> None:
    broken = Payload(metadata={"encoding": b"json/plain"}, data=b"{")

    for converter in (OURS, SDKS):
        with pytest.raises(RuntimeError, match="could not be converted"):
            converter.from_payloads([broken], [Marked])


class Pair:
    """Nothing that msgspec knows how to write; the SDK takes what has a method `dict` for its answer."""

    def dict(self) -> dict[str, object]:
        return {"left": 1, "right": UUID(int=2)}


def test_what_msgspec_does_not_know_is_left_to_the_sdk() -> None:
    [payload] = OURS.to_payloads([Pair()])

    assert json.loads(payload.data) == {"left": 1, "right": str(UUID(int=2))}


@dataclass
class Holder:
    """Of a type that msgspec cannot read."""

    values: Sequence[int] | Sequence[str]


def test_a_type_that_msgspec_cannot_read_is_left_to_the_sdk() -> None:
    payloads = SDKS.to_payloads([{"values": [1, 2]}])

    assert OURS.from_payloads(payloads, [Holder]) == SDKS.from_payloads(payloads, [Holder])
