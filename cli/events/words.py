"""What an event says, in words."""

from __future__ import annotations

from collections.abc import Iterator
from functools import singledispatch

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from cli.events.record import Seen
from cli.printable import printable, readable
from domain.money import EXPONENTS, format_money
from ordersaga.events.v1.notification_events_pb2 import NotificationChanged
from ordersaga.events.v1.order_events_pb2 import OrderTransitioned
from ordersaga.events.v1.payment_events_pb2 import PaymentChanged
from ordersaga.events.v1.product_events_pb2 import ProductChanged
from ordersaga.events.v1.stock_events_pb2 import StockChanged
from ordersaga.events.v1.user_events_pb2 import UserChanged


def in_words(seen: Seen) -> str:
    """One line for people about any record, whatever is in it."""
    if seen.data is not None:
        said = "; ".join(part for part in _parts(seen.data) if part)
        return printable(f"REFUSED: {seen.refused}: {said}" if seen.refused else said)
    what = "REFUSED" if seen.refused else "FOREIGN" if seen.event is None else "UNREADABLE"
    return printable(f"{what}: {seen.refused or seen.problem}: {readable(seen.value)}")


@singledispatch
def _parts(data: Message) -> Iterator[str]:
    raise NotImplementedError(f"nobody has written what {type(data).__name__} says")


@_parts.register
def _(order: OrderTransitioned) -> Iterator[str]:
    yield f"{order.from_status} → {order.to_status}" if order.from_status else order.to_status
    yield order.reason
    if order.refund_id:
        yield f"refund {order.refund_id}: {_money(order.refund_amount, order.currency)}"
        yield f"{_money(order.refunded, order.currency)} of {_money(order.total, order.currency)} refunded so far"
    elif order.HasField("total"):
        yield _money(order.total, order.currency)
    if order.to_status == "PENDING" and order.HasField("payment_deadline"):
        yield f"to be paid by {_minute(order.payment_deadline)}"
    if order.lines and not order.from_status:
        who = f"{'guest' if order.is_guest else 'customer'} {order.user_id}"
        yield f"{len(order.lines)} {'line' if len(order.lines) == 1 else 'lines'}, {who}"


@_parts.register
def _(payment: PaymentChanged) -> Iterator[str]:
    yield f"{payment.status}"
    yield f"{_money(payment.amount_received, payment.currency)} of {_money(payment.amount, payment.currency)} received"
    if payment.failed_attempts:
        yield f"{payment.failed_attempts} failed {'attempt' if payment.failed_attempts == 1 else 'attempts'}"
    if payment.refund_id:
        yield f"refund {payment.refund_id}: {_money(payment.refund_amount, payment.currency)}"
    if payment.amount_refunded:
        yield f"{_money(payment.amount_refunded, payment.currency)} refunded so far"
    if payment.dispute_id:
        amount = _money(payment.dispute_amount, payment.currency)
        yield f"dispute {payment.dispute_id} about {amount}: {payment.dispute_status}"


@_parts.register
def _(stock: StockChanged) -> Iterator[str]:
    units = f"{stock.quantity} {'unit' if abs(stock.quantity) == 1 else 'units'}"
    yield f"{units} for order {stock.order_id}" if stock.order_id else units
    yield f"{stock.on_hand} on hand, {stock.reserved} of them reserved"


@_parts.register
def _(product: ProductChanged) -> Iterator[str]:
    yield f"{product.name}, {_money(product.unit_price, product.currency)}"
    yield "" if product.active else "not for sale"


@_parts.register
def _(user: UserChanged) -> Iterator[str]:
    yield f"account {user.user_id}"
    yield f"link {user.link_id}" if user.link_id else ""


@_parts.register
def _(sent: NotificationChanged) -> Iterator[str]:
    yield f"{sent.channel or 'mail'} {sent.template or 'of its own text'}: {sent.status}"
    yield f"customer {sent.user_id}" if sent.user_id else ""


def _money(amount: int, currency: str) -> str:
    return format_money(amount, currency) if currency in EXPONENTS else f"{amount} {currency or '(no currency)'}"


def _minute(at: Timestamp) -> str:
    return f"{at.ToDatetime():%Y-%m-%d %H:%M} UTC"
