"""What crosses HTTP: request bodies and answers. Money is whole minor units of an ISO 4217 currency."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType

from domain.emails import MAX_EMAIL
from domain.limits import (
    MAX_ADDRESS_LINE,
    MAX_CITY,
    MAX_DESCRIPTION,
    MAX_NOTE,
    MAX_PASSWORD,
    MAX_PAYMENT_METHOD,
    MAX_POSTAL_CODE,
    MAX_PRODUCT_NAME,
    MAX_RECIPIENT,
    MAX_REFRESH_TOKEN,
    MAX_USER_NAME,
    MIN_PASSWORD,
)
from domain.money import EXPONENTS, MAX_AMOUNT
from domain.notifications import MAX_BODY, MAX_PHONE, MAX_SMS, MAX_SUBJECT, Channel, NotificationStatus
from domain.orders import (
    DEFAULT_PAYMENT_WINDOW_SECONDS,
    MAX_LINES,
    MAX_PAYMENT_WINDOW_SECONDS,
    MAX_QUANTITY,
    OrderStatus,
)
from domain.payments import PaymentStatus
from domain.refunds import DisputeStatus, RefundOrigin, RefundStatus
from domain.stock import MAX_ON_HAND
from domain.users import Role


def _text(longest: int, *, shortest: int = 1) -> Meta:
    # no NUL, which PostgreSQL cannot store
    return Meta(
        min_length=shortest,
        max_length=longest,
        pattern=r"^[^\x00]*$",
        description=f"text of {shortest} to {longest} characters, none of them NUL",
    )


def _whole(smallest: int, largest: int) -> Meta:
    return Meta(ge=smallest, le=largest, description=f"a whole number from {smallest} to {largest}")


Id = Annotated[
    str,
    Meta(
        pattern="^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
        max_length=36,  # a $ alone would let a line feed pass behind it
        description="a UUID in lower case with hyphens",
        examples=["01932b5e-7c1a-7e4e-9c3d-2f6d1b8a4c55"],
    ),
]
Email = Annotated[
    str,
    Meta(
        pattern=r"^[^@\s\x00]+@[^@\s\x00]+\.[^@\s\x00]+$",
        max_length=MAX_EMAIL,
        description=f"an e-mail address of at most {MAX_EMAIL} characters",
        examples=["customer@example.test"],
    ),
]
Currency = Annotated[
    str,
    Meta(
        pattern=f"^({'|'.join(sorted(EXPONENTS))})$",
        max_length=3,
        description="an ISO 4217 currency code in capitals, for example EUR",
        examples=["EUR"],
    ),
]
Country = Annotated[
    str,
    Meta(
        pattern="^[A-Z]{2}$",
        max_length=2,
        description="an ISO 3166-1 alpha-2 country code in capitals, for example DE",
        examples=["DE"],
    ),
]
Amount = Annotated[int, _whole(0, MAX_AMOUNT)]


class Request(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request body; a field that it does not have is refused."""


class NewUser(Request, frozen=True, kw_only=True):
    """An account to open."""

    email: Email
    password: Annotated[str, _text(MAX_PASSWORD, shortest=MIN_PASSWORD)]
    name: Annotated[str, _text(MAX_USER_NAME)]


class Credentials(Request, frozen=True, kw_only=True):
    """What tokens are traded for."""

    email: Annotated[str, _text(MAX_EMAIL)]
    password: Annotated[str, _text(MAX_PASSWORD)]


class RefreshTokenRequest(Request, frozen=True, kw_only=True):
    """The refresh token that its holder was given last."""

    refresh_token: Annotated[str, _text(MAX_REFRESH_TOKEN)]


class NewProduct(Request, frozen=True, kw_only=True):
    """A product to sell."""

    name: Annotated[str, _text(MAX_PRODUCT_NAME)]
    description: Annotated[str, _text(MAX_DESCRIPTION, shortest=0)] = ""
    unit_price: Amount
    currency: Currency


class ProductChanges(Request, frozen=True, kw_only=True):
    """What of a product shall change; what is left out stays. Its currency never changes."""

    name: Annotated[str, _text(MAX_PRODUCT_NAME)] | UnsetType = UNSET
    description: Annotated[str, _text(MAX_DESCRIPTION, shortest=0)] | UnsetType = UNSET
    unit_price: Amount | UnsetType = UNSET
    active: Annotated[bool, Meta(description="true or false")] | UnsetType = UNSET


class NewAdjustment(Request, frozen=True, kw_only=True):
    """Units that came or went. With an `adjustment_id` of one's own the request may be repeated safely."""

    delta: Annotated[int, _whole(-MAX_ON_HAND, MAX_ON_HAND)]
    note: Annotated[str, _text(MAX_NOTE, shortest=0)] = ""
    adjustment_id: Id | None = None


class NewEmail(Request, frozen=True, kw_only=True, tag_field="channel", tag=Channel.EMAIL.value):
    """A mail to send to a user: to their own address, unless `to` names another."""

    user_id: Id
    to: Email | None = None
    subject: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=MAX_SUBJECT,
            pattern=r"^[^\x00-\x1f\x7f\x85\u2028\u2029]*$",
            description=f"one line of 1 to {MAX_SUBJECT} characters",
        ),
    ]
    body: Annotated[str, _text(MAX_BODY)]
    notification_id: Id | None = None


class NewSms(Request, frozen=True, kw_only=True, tag_field="channel", tag=Channel.SMS.value):
    """An SMS to send to a user."""

    user_id: Id
    phone: Annotated[
        str,
        Meta(
            pattern=r"^\+[1-9][0-9]{1,14}$(?!\n)",  # Python's $ alone would let a line feed pass behind it
            max_length=MAX_PHONE,
            description="a telephone number in E.164 form, for example +15005550006",
            examples=["+15005550006"],
        ),
    ]
    message: Annotated[str, _text(MAX_SMS)]
    notification_id: Id | None = None


NewNotification: TypeAlias = NewEmail | NewSms


class Line(Request, frozen=True, kw_only=True):
    """A quantity of one product."""

    product_id: Id
    quantity: Annotated[int, _whole(1, MAX_QUANTITY)]


class Address(Request, frozen=True, kw_only=True):
    """A postal address."""

    name: Annotated[str, _text(MAX_RECIPIENT)]
    line1: Annotated[str, _text(MAX_ADDRESS_LINE)]
    line2: Annotated[str, _text(MAX_ADDRESS_LINE)] | None = None
    city: Annotated[str, _text(MAX_CITY)]
    postal_code: Annotated[str, _text(MAX_POSTAL_CODE)]
    country: Country


class NewOrder(Request, frozen=True, kw_only=True):
    """An order to place. Lines of the same product count as one."""

    lines: Annotated[
        list[Line], Meta(min_length=1, max_length=MAX_LINES, description=f"a list of 1 to {MAX_LINES} lines")
    ]
    currency: Currency
    shipping_address: Address
    payment_method: Annotated[str, _text(MAX_PAYMENT_METHOD)] | None = None
    expected_total: Amount | None = None
    payment_window_seconds: Annotated[int, _whole(1, MAX_PAYMENT_WINDOW_SECONDS)] = DEFAULT_PAYMENT_WINDOW_SECONDS


class Cancellation(Request, frozen=True, kw_only=True):
    """A request to cancel an order; the `note` is kept for people, and goes nowhere else."""

    note: Annotated[str, _text(MAX_NOTE)] | None = None


class NewRefund(Request, frozen=True, kw_only=True):
    """Money of an order to give back: so much in minor units, or all that is left without an `amount`.

    `restock` says what of the order is put back into stock once the money is given back. `note` is kept for people, and
    goes nowhere else.
    """

    amount: Annotated[int, _whole(1, MAX_AMOUNT)] | None = None
    restock: Annotated[list[Line], Meta(max_length=MAX_LINES, description=f"at most {MAX_LINES} lines")] = []
    note: Annotated[str, _text(MAX_NOTE)] | None = None


class User(Struct, frozen=True, kw_only=True):
    """An account."""

    id: str
    email: str
    name: str
    role: Role
    created_at: datetime


class Token(Struct, frozen=True, kw_only=True):
    """Two tokens: send the access token as ``Authorization: Bearer …`` until it expires.

    The refresh token gets the next pair, once; keep it where nobody else can read it.
    """

    access_token: str
    token_type: str
    expires_at: datetime
    refresh_token: str
    refresh_expires_at: datetime
    user: User


class Product(Struct, frozen=True, kw_only=True):
    """A product; `unit_price` in minor units."""

    id: str
    name: str
    description: str
    unit_price: int
    currency: str
    active: bool
    created_at: datetime
    updated_at: datetime


class ProductPage(Struct, frozen=True, kw_only=True):
    """Some products; the next page starts at `next_cursor`, null on the last."""

    items: list[Product]
    next_cursor: str | None


class Stock(Struct, frozen=True, kw_only=True):
    """Units of one product; available = on hand - reserved."""

    product_id: str
    on_hand: int
    reserved: int
    available: int


class Item(Struct, frozen=True, kw_only=True):
    """One line of an order; `unit_price` in minor units, null until the order is priced."""

    product_id: str
    quantity: int
    unit_price: int | None


class Transition(Struct, frozen=True, kw_only=True, rename={"from_status": "from", "to_status": "to"}):
    """One arrow of an order's history; `seq` is gapless from 1, `from` null in the first."""

    seq: int
    from_status: OrderStatus | None
    to_status: OrderStatus
    reason: str | None
    at: datetime


class Order(Struct, frozen=True, kw_only=True):
    """An order as it stands, with its history.

    `reason` says why it is FAILED or who CANCELLED it. `total` is in minor units, null until the order is priced;
    `refunded` is what of it was refunded so far, 0 unless it is PARTIALLY_REFUNDED or REFUNDED.
    `client_secret` lets its owner's browser pay while it is PENDING; null otherwise.
    """

    id: str
    status: OrderStatus
    reason: str | None
    currency: str
    total: int | None
    refunded: int
    items: list[Item]
    shipping_address: Address
    created_at: datetime
    payment_deadline: datetime | None
    payment_id: str | None
    client_secret: str | None
    transitions: list[Transition]


class OrderSummary(Struct, frozen=True, kw_only=True):
    """An order as a list shows it; the order itself has its items, address, client secret and history.

    `line_count` is how many products it has; `total` is in minor units, null until the order is priced; `refunded` is
    what of it was refunded so far.
    """

    id: str
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


class Refund(Struct, frozen=True, kw_only=True):
    """Money of an order that is given back, or was to be; `amount` in minor units of `currency`.

    `PENDING` may last for days. `SUCCEEDED` can turn `FAILED` when the customer's bank sends the money back. One that
    `FAILED` or was `CANCELLED` calls for our team, and is `RESOLVED` or `REPLACED` by another refund then. `origin` is
    `ADMIN` for one that was asked for here, `VOID` for one that is due because the order ended without being paid, and
    `STRIPE` for one that was made in Stripe's dashboard.
    """

    id: str
    order_id: str
    payment_id: str
    status: RefundStatus
    origin: RefundOrigin
    amount: int
    currency: str
    restock: list[Line]
    failure_reason: str | None
    created_at: datetime


class Refunds(Struct, frozen=True, kw_only=True):
    """The refunds of an order, oldest first."""

    items: list[Refund]


class Dispute(Struct, frozen=True, kw_only=True):
    """A customer's dispute with their bank; `id`, `status` and `reason` are Stripe's, amounts in minor units.

    `withdrawn` is what Stripe holds or took because of it. It is answered in Stripe's dashboard, until `respond_by`.
    """

    id: str
    status: DisputeStatus
    reason: str
    amount: int
    currency: str
    withdrawn: int
    respond_by: datetime | None


class Payment(Struct, frozen=True, kw_only=True):
    """An order's payment as it was last read from Stripe; amounts in minor units of `currency`.

    `failed_attempts` counts the charges that failed so far.
    """

    id: str
    order_id: str
    status: PaymentStatus
    currency: str
    amount: int
    amount_received: int
    amount_refunded: int
    failed_attempts: int
    disputes: list[Dispute]


class Notification(Struct, frozen=True, kw_only=True):
    """A message to a user, and what became of it; `SENT` once the mail relay or Twilio has taken it."""

    id: str
    channel: Channel
    status: NotificationStatus


class Empty(Struct, frozen=True):
    """An empty object: all is well."""
