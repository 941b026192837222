"""Examples of the API's requests and answers, for its description: typed, so that they cannot say what is not so."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from api.schemas.fields import Empty
from api.schemas.guests import GuestLinkRequest, NewGuestOrder, PlacedGuestOrder
from api.schemas.lines import Line, PriceAdjustment
from api.schemas.notifications import NewEmail, NewSms, Notification
from api.schemas.orders import (
    Address,
    Cancellation,
    CustomerAction,
    Item,
    NewOrder,
    Order,
    OrderPage,
    OrderSummary,
    ShippingAddress,
    Timeline,
    TimelineEntry,
    Transition,
)
from api.schemas.payments import NewRefund, NewRefundApproval, Payment, Refund, RefundApproval, Refunds
from api.schemas.products import NewAdjustment, NewProduct, Product, ProductChanges, ProductPage, Stock
from api.schemas.users import (
    Credentials,
    EmailChange,
    EmailConfirmation,
    Erasure,
    NewUser,
    PasswordChange,
    PasswordReset,
    PasswordResetRequest,
    RefreshTokenRequest,
    Session,
    Sessions,
    Token,
    User,
    UserChanges,
    UserPage,
)
from domain.notifications import Channel, NotificationStatus
from domain.orders import AdjustmentType, OrderStatus
from domain.payments import PaymentStatus
from domain.refunds import RefundOrigin, RefundStatus
from domain.users import Role

_AT: Final = datetime(2026, 11, 30, 9, tzinfo=UTC)
_USER, _SESSION, _PRODUCT, _ORDER, _PAYMENT, _REFUND, _NOTIFICATION, _APPROVAL = (
    f"01932b5e-7c1a-7e4e-9c3d-2f6d1b8a4c{number:02}" for number in range(50, 58)
)
_EMAIL: Final = "ada@example.test"
_PASSWORD: Final = "correct horse battery staple"  # noqa: S105  # an example
_OTHER_PASSWORD: Final = "a better one, made of words"  # noqa: S105  # an example
_LINK: Final = "3q2-7wAVc0Zk9b1xTnYhR8sLmD4uEoJfGiKpNvXyBzHrQaWlCtMdUgOjPeSkIxFb"
_REFRESH: Final = "9b1xTnYhR8sLmD4uEoJfGiKpNvXyBzHrQaWlCtMdUgO"
_JWT: Final = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIwMTkzMmI1ZSJ9.c2lnbmF0dXJl"
_CURSOR: Final = "AZMrXnwafk6cPS9tG4pMVQ"

_ADDRESS = Address(
    name="Ada Byron", line1="1 High Street", city="Springfield", region="IL", postal_code="62701", country="US"
)
_GOES_TO = msgspec.convert(msgspec.to_builtins(_ADDRESS), ShippingAddress)
_ACCOUNT = User(
    id=_USER,
    email=_EMAIL,
    name="Ada Byron",
    role=Role.CUSTOMER,
    created_at=_AT,
    email_confirmed=True,
    disabled=False,
)
_TOKEN = Token(
    access_token=_JWT,
    token_type="Bearer",  # noqa: S106  # RFC 6750's name of the scheme
    expires_at=_AT + timedelta(minutes=15),
    refresh_token=_REFRESH,
    refresh_expires_at=_AT + timedelta(days=30),
    user=_ACCOUNT,
)
_MUG = Product(
    id=_PRODUCT,
    name="Coffee mug",
    description="Holds 300 ml.",
    unit_price=1_250,
    currency="USD",
    active=True,
    created_at=_AT,
    updated_at=_AT,
)
_STOCK = Stock(product_id=_PRODUCT, on_hand=10, reserved=2, available=8)
_PENDING = Order(
    id=_ORDER,
    number="7KQ2-M9XD",
    guest_email=None,
    status=OrderStatus.PENDING,
    reason=None,
    currency="USD",
    total=2_500,
    refunded=0,
    items=[Item(product_id=_PRODUCT, name="Coffee mug", quantity=2, unit_price=1_250)],
    adjustments=[],
    shipping_address=_GOES_TO,
    metadata={"cart": "web-4711"},
    created_at=_AT,
    payment_deadline=_AT + timedelta(minutes=15),
    payment_id=_PAYMENT,
    payment_status=PaymentStatus.REQUIRES_PAYMENT_METHOD,
    customer_action=CustomerAction.PAY,
    last_decline=None,
    refundable=0,
    client_secret="pi_3QTest_secret_7d1c",  # noqa: S106  # an example
    payment=None,
    refunds=None,
    timeline=None,
    transitions=[
        Transition(seq=1, from_status=None, to_status=OrderStatus.RECEIVED, reason=None, at=_AT),
        Transition(seq=2, from_status=OrderStatus.RECEIVED, to_status=OrderStatus.PENDING, reason=None, at=_AT),
    ],
)
_CANCELLED = msgspec.structs.replace(
    _PENDING,
    status=OrderStatus.CANCELLED,
    reason="CUSTOMER",
    payment_status=PaymentStatus.CANCELLED,
    customer_action=None,
    client_secret=None,
    transitions=[
        *_PENDING.transitions,
        Transition(seq=3, from_status=OrderStatus.PENDING, to_status=OrderStatus.CANCELLED, reason="CUSTOMER", at=_AT),
    ],
)
_SUMMARY = OrderSummary(
    id=_ORDER,
    number="7KQ2-M9XD",
    user_id=_USER,
    status=OrderStatus.PENDING,
    reason=None,
    currency="USD",
    total=2_500,
    refunded=0,
    line_count=1,
    created_at=_AT,
    payment_deadline=_AT + timedelta(minutes=15),
    payment_id=_PAYMENT,
)
_PAID = Payment(
    id=_PAYMENT,
    order_id=_ORDER,
    status=PaymentStatus.SUCCEEDED,
    currency="USD",
    amount=2_500,
    amount_received=2_500,
    amount_refunded=0,
    amount_refundable=2_500,
    failed_attempts=0,
    disputes=[],
)
_BACK = Refund(
    id=_REFUND,
    order_id=_ORDER,
    payment_id=_PAYMENT,
    status=RefundStatus.SUCCEEDED,
    origin=RefundOrigin.ADMIN,
    amount=1_250,
    currency="USD",
    restock=[Line(product_id=_PRODUCT, quantity=1)],
    failure_reason=None,
    created_at=_AT,
)
_ADJUSTMENTS = [
    PriceAdjustment(type=AdjustmentType.SHIPPING, name="Parcel", amount=490),
    PriceAdjustment(type=AdjustmentType.DISCOUNT, name="Welcome, 10 %", amount=250),
]
_LINES = [Line(product_id=_PRODUCT, quantity=2)]

_STREAM: Final = f"id: 1\nevent: transition\ndata: {msgspec.json.encode(_PENDING.transitions[0]).decode()}\n\n"

REQUESTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "registerUser": {"account": NewUser(email=_EMAIL, password=_PASSWORD, name="Ada Byron")},
    "updateUser": {"disable": UserChanges(disabled=True), "promote": UserChanges(role=Role.SUPPORT)},
    "confirmEmail": {"token": EmailConfirmation(token=_LINK)},
    "requestPasswordReset": {"address": PasswordResetRequest(email=_EMAIL)},
    "resetPassword": {"password": PasswordReset(token=_LINK, password=_PASSWORD)},
    "changePassword": {"password": PasswordChange(current_password=_PASSWORD, password=_OTHER_PASSWORD)},
    "changeEmail": {"address": EmailChange(current_password=_PASSWORD, email="ada.byron@example.test")},
    "eraseCurrentUser": {"password": Erasure(current_password=_PASSWORD)},
    "createToken": {"credentials": Credentials(email=_EMAIL, password=_PASSWORD)},
    "refreshToken": {"token": RefreshTokenRequest(refresh_token=_REFRESH)},
    "logOut": {"token": RefreshTokenRequest(refresh_token=_REFRESH)},
    "createProduct": {
        "mug": NewProduct(name="Coffee mug", description="Holds 300 ml.", unit_price=1_250, currency="USD")
    },
    "updateProduct": {"price": ProductChanges(unit_price=1_350), "withdrawn": ProductChanges(active=False)},
    "adjustStock": {"delivery": NewAdjustment(delta=10, note="delivery 4711")},
    "placeOrder": {
        "paid in the browser": NewOrder(lines=_LINES, currency="USD", shipping_address=_ADDRESS, expected_total=2_500),
        "paid at once": NewOrder(
            lines=_LINES, currency="USD", shipping_address=_ADDRESS, payment_method="pm_card_visa"
        ),
        "by the shop's back end": NewOrder(
            customer=_USER,
            lines=_LINES,
            currency="USD",
            shipping_address=_ADDRESS,
            adjustments=_ADJUSTMENTS,
            expected_total=2_740,
        ),
    },
    "placeGuestOrder": {
        "paid in the browser": NewGuestOrder(
            email=_EMAIL, name="Ada Byron", lines=_LINES, currency="USD", shipping_address=_ADDRESS
        ),
        "by the shop's back end": NewGuestOrder(
            email=_EMAIL, lines=_LINES, currency="USD", shipping_address=_ADDRESS, adjustments=_ADJUSTMENTS
        ),
    },
    "requestGuestLink": {"link": GuestLinkRequest(number="7KQ2-M9XD", email=_EMAIL)},
    "cancelOrder": {"cancellation": Cancellation(note="changed my mind")},
    "refundOrder": {
        "a part": NewRefund(amount=1_250, restock=[Line(product_id=_PRODUCT, quantity=1)], note="one was broken"),
        "all that is left": NewRefund(),
    },
    "approveRefund": {"approval": NewRefundApproval(amount=2_500, note="lost by the carrier")},
    "sendNotification": {
        "mail": NewEmail(user_id=_USER, subject="Your mug", body="It is on its way."),
        "SMS": NewSms(user_id=_USER, phone="+15005550006", message="Your mug is on its way."),
    },
    "receiveStripeEvent": {
        "event": {
            "id": "evt_1QTest",
            "object": "event",
            "type": "payment_intent.succeeded",
            "livemode": False,
            "data": {"object": {"id": "pi_3QTest", "object": "payment_intent"}},
        }
    },
}
"""By operation, each with its name."""

ANSWERS: Final[Mapping[str, Any]] = {
    "registerUser": msgspec.structs.replace(_ACCOUNT, email_confirmed=False),
    "getCurrentUser": _ACCOUNT,
    "listUsers": UserPage(items=[_ACCOUNT], next_cursor=_CURSOR),
    "getUser": _ACCOUNT,
    "updateUser": msgspec.structs.replace(_ACCOUNT, disabled=True),
    "requestConfirmation": Empty(),
    "requestPasswordReset": Empty(),
    "changeEmail": Empty(),
    "listSessions": Sessions(
        items=[
            Session(
                id=_SESSION,
                created_at=_AT,
                last_used_at=_AT,
                address="203.0.113.0/24",
                user_agent="Mozilla/5.0",
                is_current=True,
            )
        ]
    ),
    "createToken": _TOKEN,
    "refreshToken": _TOKEN,
    "listProducts": ProductPage(items=[_MUG], next_cursor=None),
    "createProduct": _MUG,
    "getProduct": _MUG,
    "updateProduct": msgspec.structs.replace(_MUG, unit_price=1_350),
    "getStock": _STOCK,
    "adjustStock": _STOCK,
    "placeOrder": _PENDING,
    "placeGuestOrder": PlacedGuestOrder(
        order=msgspec.structs.replace(_PENDING, guest_email=_EMAIL),
        access_token=_JWT,
        expires_at=_AT + timedelta(days=30),
    ),
    "requestGuestLink": Empty(),
    "cancelOrder": _CANCELLED,
    "getOrder": _PENDING,
    "streamOrderEvents": _STREAM,
    "listOrders": OrderPage(items=[_SUMMARY], next_cursor=None),
    "getOrderTimeline": Timeline(
        entries=[TimelineEntry(at=_AT, type="order.received", text="Order received", actor=None, note=None)],
        missing=[],
    ),
    "refundOrder": _BACK,
    "approveRefund": RefundApproval(
        id=_APPROVAL,
        order_id=_ORDER,
        amount=2_500,
        currency="USD",
        approved_by=f"admin:{_USER}",
        expires_at=_AT + timedelta(hours=24),
        refund_id=None,
    ),
    "listRefunds": Refunds(items=[_BACK]),
    "getPayment": _PAID,
    "sendNotification": Notification(id=_NOTIFICATION, channel=Channel.EMAIL, status=NotificationStatus.PENDING),
    "receiveStripeEvent": Empty(),
}
"""By operation."""
