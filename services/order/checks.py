"""What a request for a new order may be made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from domain.limits import (
    LONGEST_WAIT_SECONDS,
    MAX_ADDRESS_LINE,
    MAX_ADJUSTMENT_NAME,
    MAX_CITY,
    MAX_IDEMPOTENCY_KEY,
    MAX_METADATA_KEY,
    MAX_METADATA_KEYS,
    MAX_METADATA_VALUE,
    MAX_PAYMENT_METHOD,
    MAX_POSTAL_CODE,
    MAX_RECIPIENT,
    MAX_REGION,
    MAX_USER_NAME,
)
from domain.orders import (
    DEFAULT_PAYMENT_WINDOW_SECONDS,
    MAX_ADJUSTMENTS,
    MAX_PAYMENT_WINDOW_SECONDS,
    AdjustmentType,
    OrderLine,
)
from ordersaga.order.v1 import order_pb2 as pb
from runtime.postal_addresses import COUNTRIES, find_address_faults
from runtime.protos import enum_mapping
from runtime.validation import Violations
from services.order.errors import PaymentWindowTooLong


def check_new_order(
    violations: Violations, request: pb.CreateOrderRequest, *, shortest_key: int = 1
) -> list[OrderLine]:
    """Note what is wrong with an order that is asked for; its lines."""
    lines = violations.check_lines("lines", request.lines)
    check_idempotent(violations, request, shortest_key=shortest_key)
    violations.check_currency("currency", request.currency)
    violations.check_plain_line("payment_method", request.payment_method, shortest=0, longest=MAX_PAYMENT_METHOD)
    violations.check_amount("expected_total", request.expected_total)
    if request.HasField("payment_window_seconds"):
        violations.check_range(
            "payment_window_seconds", request.payment_window_seconds, smallest=1, largest=MAX_PAYMENT_WINDOW_SECONDS
        )
    _check_address(violations, request.shipping_address)
    _check_metadata(violations, request.shop_metadata)
    return lines


def check_guest(violations: Violations, *, email: str, name: str) -> None:
    """Note what is wrong with who orders without an account."""
    violations.check_email("email", email)
    if name:
        violations.check_name("name", name, longest=MAX_USER_NAME)


def check_adjustments(violations: Violations, adjustments: Sequence[pb.PriceAdjustment]) -> None:
    """Note what is wrong with shipping and discounts."""
    types = enum_mapping(AdjustmentType, pb.AdjustmentType.DESCRIPTOR)
    if len(adjustments) > MAX_ADJUSTMENTS:
        violations.add("adjustments", f"must be at most {MAX_ADJUSTMENTS}")
    for index, adjustment in enumerate(adjustments):
        field = f"adjustments[{index}]"
        if types.from_proto(adjustment.type) is None:
            violations.add(f"{field}.type", f"must be {' or '.join(AdjustmentType)}")
        violations.check_plain_line(f"{field}.name", adjustment.name, longest=MAX_ADJUSTMENT_NAME)
        violations.check_amount(f"{field}.amount", adjustment.amount, smallest=1)


def payment_window(request: pb.CreateOrderRequest, *, longest: int) -> int:
    """Seconds that the customer gets to pay; the usual time unless the request says.

    Raises:
        PaymentWindowTooLong: nobody gets so many.
    """
    if not request.HasField("payment_window_seconds"):
        return min(DEFAULT_PAYMENT_WINDOW_SECONDS, longest)
    if request.payment_window_seconds > longest:
        raise PaymentWindowTooLong(longest=longest)
    return request.payment_window_seconds


def check_idempotent(
    violations: Violations, request: pb.CreateOrderRequest | pb.CancelOrderRequest, *, shortest_key: int = 1
) -> None:
    """Note what is wrong with a request's key, and with how long it waits."""
    violations.check_text(
        "idempotency_key", request.idempotency_key, shortest=shortest_key, longest=MAX_IDEMPOTENCY_KEY
    )
    violations.check_range("wait_ms", request.wait_ms, smallest=0, largest=LONGEST_WAIT_SECONDS * 1_000)


def _check_address(violations: Violations, address: pb.Address) -> None:
    field = "shipping_address"
    violations.check_plain_line(f"{field}.name", address.name, longest=MAX_RECIPIENT)
    violations.check_plain_line(f"{field}.line1", address.line1, longest=MAX_ADDRESS_LINE)
    violations.check_plain_line(f"{field}.line2", address.line2, shortest=0, longest=MAX_ADDRESS_LINE)
    violations.check_plain_line(f"{field}.city", address.city, shortest=0, longest=MAX_CITY)
    violations.check_plain_line(f"{field}.region", address.region, shortest=0, longest=MAX_REGION)
    violations.check_plain_line(f"{field}.postal_code", address.postal_code, shortest=0, longest=MAX_POSTAL_CODE)
    if address.country not in COUNTRIES:
        violations.add(f"{field}.country", "must be an ISO 3166-1 alpha-2 code in capitals, for example DE")
        return
    for part, fault in find_address_faults(
        country=address.country, city=address.city, region=address.region, postal_code=address.postal_code
    ):
        violations.add(f"{field}.{part}", fault)


def _check_metadata(violations: Violations, metadata: Mapping[str, str]) -> None:
    if len(metadata) > MAX_METADATA_KEYS:
        violations.add("metadata", f"must have at most {MAX_METADATA_KEYS} keys")
    for key, value in metadata.items():
        violations.check_plain_line("metadata", key, longest=MAX_METADATA_KEY)
        violations.check_plain_line(f"metadata.{key}", value, shortest=0, longest=MAX_METADATA_VALUE)
