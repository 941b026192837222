"""Orders, as they cross HTTP; money in minor units of the order's currency."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct, field

from api.schemas.fields import Amount, Country, Currency, Id, Metadata, Request, plain_line, whole
from api.schemas.lines import Line, PriceAdjustment
from api.schemas.payments import Payment, Refund
from domain.limits import (
    MAX_ADDRESS_LINE,
    MAX_CITY,
    MAX_NOTE,
    MAX_PAYMENT_METHOD,
    MAX_POSTAL_CODE,
    MAX_RECIPIENT,
    MAX_REGION,
)
from domain.orders import (
    MAX_ADJUSTMENTS,
    MAX_LINES,
    MAX_PAYMENT_WINDOW_SECONDS,
    OrderStatus,
)
from domain.payments import PaymentStatus


class Address(Request, frozen=True, kw_only=True):
    """A postal address.

    Which of `city`, `region` (state, province, prefecture, …) and `postal_code` there must be, and which regions and
    postal codes there are, the country says: a US address needs all three, one in Hong Kong only its region.
    """

    name: Annotated[str, plain_line(MAX_RECIPIENT)]
    line1: Annotated[str, plain_line(MAX_ADDRESS_LINE)]
    line2: Annotated[str, plain_line(MAX_ADDRESS_LINE)] | None = None
    city: Annotated[str, plain_line(MAX_CITY)] | None = None
    region: Annotated[str, plain_line(MAX_REGION)] | None = None
    postal_code: Annotated[str, plain_line(MAX_POSTAL_CODE)] | None = None
    country: Country


class ShippingAddress(Struct, frozen=True, kw_only=True):
    """Where an order goes to: what was given with it; of a customer who was erased, only the country is left."""

    name: str | None
    line1: str | None
    line2: str | None
    city: str | None
    region: str | None
    postal_code: str | None
    country: str


class OrderContent(Request, frozen=True, kw_only=True):
    """What every new order has, whoever places it."""

    lines: Annotated[
        list[Line], Meta(min_length=1, max_length=MAX_LINES, description=f"a list of 1 to {MAX_LINES} lines")
    ]
    currency: Currency
    shipping_address: Address
    payment_method: Annotated[str, plain_line(MAX_PAYMENT_METHOD)] | None = None
    expected_total: Amount | None = None
    payment_window_seconds: Annotated[int, whole(1, MAX_PAYMENT_WINDOW_SECONDS)] | None = None
    metadata: Metadata = field(default_factory=dict)
    adjustments: (
        Annotated[
            list[PriceAdjustment],
            Meta(max_length=MAX_ADJUSTMENTS, description=f"a list of at most {MAX_ADJUSTMENTS} adjustments"),
        ]
        | None
    ) = None


class NewOrder(OrderContent, frozen=True, kw_only=True):
    """An order to place. Lines of the same product count as one.

    `payment_window_seconds` is how long its customer has to pay, while its stock is held for them: 900 unless given,
    never longer than the shop allows. `expected_total` is the total that the customer saw, with shipping and discounts.
    `customer`, the id of an account, and `adjustments`, its shipping and discounts, are for the shop's back end alone,
    which places the order of this customer.
    """

    customer: Id | None = None


class Cancellation(Request, frozen=True, kw_only=True):
    """A request to cancel an order; the `note` is kept for people, and goes nowhere else."""

    note: Annotated[str, plain_line(MAX_NOTE)] | None = None


class Item(Struct, frozen=True, kw_only=True):
    """One line of an order, where the customer named it.

    `name` and `unit_price`, in minor units, are those that the product had when the order was priced; null until then.
    """

    product_id: str
    name: str | None
    quantity: int
    unit_price: int | None


class Transition(Struct, frozen=True, kw_only=True, rename={"from_status": "from", "to_status": "to"}):
    """One arrow of an order's history; `seq` is gapless from 1, `from` null in the first."""

    seq: int
    from_status: OrderStatus | None
    to_status: OrderStatus
    reason: str | None
    at: datetime


class TimelineEntry(Struct, frozen=True, kw_only=True):
    """Something that happened to an order.

    `type` is one word of ours, such as `order.paid`; `actor` is who did it, such as `operator:ada`, null where it
    happened by itself or is not for this reader; `note` is why, in their words.
    """

    at: datetime
    type: str
    text: str
    actor: str | None
    note: str | None


class Timeline(Struct, frozen=True, kw_only=True):
    """What happened to an order, the first thing first; `missing` names the services that did not answer."""

    entries: list[TimelineEntry]
    missing: list[str]


class CustomerAction(StrEnum):
    """What an order waits for its customer to do."""

    PAY = "PAY"
    AUTHENTICATE = "AUTHENTICATE"


class Decline(Struct, frozen=True, kw_only=True):
    """Why the last attempt to pay failed: a code of Stripe's that a customer may see, and what it means."""

    code: str
    message: str


class Order(Struct, frozen=True, kw_only=True):
    """An order as it stands, with its history.

    `number` is what people call it: whoever reads it out may leave the hyphen out, and take O for 0, I or L for 1.
    `reason` says why it is FAILED or who CANCELLED it. `total` is in minor units, null until the order is priced;
    `refunded` is what of it was refunded so far, 0 unless it is PARTIALLY_REFUNDED or REFUNDED.
    `items` are its products, `adjustments` its shipping and discounts, each in the order in which they were named; both
    are in `total`. `guest_email` is the address of whoever placed it without an account; null where an account has it.
    `metadata` is what came with it from the shop, which nothing of ours reads.
    `payment_status` is where its payment stands, null before there is one. While the order is PENDING, until
    `payment_deadline`, `customer_action` says whether it waits for its customer to pay, or to confirm the payment with
    their bank (AUTHENTICATE), and `last_decline` why the last attempt failed; `client_secret` lets its owner's browser
    do either. `refundable` is what of a sold order can still be refunded. These four, and `payment_status`, are null
    while the payment service does not answer.
    `payment`, `refunds` and `timeline` are there where `expand` asks for them.
    """

    id: str
    number: str
    status: OrderStatus
    reason: str | None
    currency: str
    total: int | None
    refunded: int
    items: list[Item]
    adjustments: list[PriceAdjustment]
    shipping_address: ShippingAddress
    guest_email: str | None
    metadata: dict[str, str]
    created_at: datetime
    payment_deadline: datetime | None
    payment_id: str | None
    payment_status: PaymentStatus | None
    customer_action: CustomerAction | None
    last_decline: Decline | None
    refundable: int | None
    client_secret: str | None
    payment: Payment | None
    refunds: list[Refund] | None
    timeline: Timeline | None
    transitions: list[Transition]


class OrderSummary(Struct, frozen=True, kw_only=True):
    """An order as a list shows it; the order itself has its items, address, client secret and history.

    `line_count` is how many products it has; `total` is in minor units, null until the order is priced; `refunded` is
    what of it was refunded so far.
    """

    id: str
    number: str
    user_id: str
    status: OrderStatus
    reason: str | None
    currency: str
    total: int | None
    refunded: int
    line_count: int
    created_at: datetime
    payment_deadline: datetime | None
    payment_id: str | None


class OrderPage(Struct, frozen=True, kw_only=True):
    """Some orders; the next page starts at `next_cursor`, null on the last."""

    items: list[OrderSummary]
    next_cursor: str | None
