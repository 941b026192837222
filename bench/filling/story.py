"""What became of each order, as all databases tell it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from random import Random
from typing import Any, Final

from bench.filling.goods import CURRENCY, Catalogue, Line
from bench.filling.ids import drawn_id
from bench.filling.people import Account, People
from bench.filling.shape import SPAN, Shape
from bench.filling.sheets import to_json
from domain.order_numbers import RANDOM_BITS, order_number_of
from domain.orders import EVENT_TYPES, REFUNDED_EVENT, CancelledBy, OrderStatus, Reason, refunded_status
from services.order.service import ACCEPTED_CAUSE

_WINDOW: Final = timedelta(minutes=15)
_OPEN_WINDOW: Final = timedelta(days=30)
"""Of the orders that are still to be paid: none runs out while somebody measures."""
_PENDING_AFTER: Final = timedelta(milliseconds=400)
_PAID_AFTER: Final = timedelta(seconds=40)
_CANCELLED_AFTER: Final = timedelta(minutes=5)
_REFUNDED_AFTER: Final = timedelta(days=3)
_SHIPPING: Final = 490
_WITH_SHIPPING: Final = 0.2
_STEP: Final = 0x5DEECE66D
"""Odd, so that multiples of it, modulo a power of two, repeat none before all were there."""


class Ending(Enum):
    """What became of an order."""

    PAID = auto()
    REFUNDED = auto()
    PARTIALLY_REFUNDED = auto()
    OUT_OF_STOCK = auto()
    NOT_PAID = auto()
    CANCELLED = auto()
    OPEN = auto()

    @property
    def is_sold(self) -> bool:
        """Whether its money came."""
        return self in (Ending.PAID, Ending.REFUNDED, Ending.PARTIALLY_REFUNDED)


_SHARES: Final = {
    Ending.PAID: 82,
    Ending.REFUNDED: 3,
    Ending.PARTIALLY_REFUNDED: 2,
    Ending.OUT_OF_STOCK: 3,
    Ending.NOT_PAID: 5,
    Ending.CANCELLED: 5,
}


@dataclass(frozen=True, slots=True)
class Transition:
    """An arrow of an order's history, with the event that mirrors it.

    Attributes:
        event: its type.
        data: its data, as JSON.
    """

    seq: int
    before: OrderStatus | None
    after: OrderStatus
    reason: str | None
    cause_id: str
    at: datetime
    event: str
    data: str


@dataclass(frozen=True, slots=True)
class Refund:
    """Money that went back."""

    id: str
    amount: int
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FilledOrder:
    """An order; amounts in minor units.

    Attributes:
        account: whose it is; None: a guest's, who is `user_id`.
        is_recent: whether it has what a retention is for.
        total: None without prices.
        payment_id: None where none was opened.
        opened_at: when its payment was.
    """

    id: str
    number: str
    account: Account | None
    user_id: str
    at: datetime
    ending: Ending
    is_recent: bool
    lines: Sequence[Line]
    shipping: int
    total: int | None
    payment_id: str | None
    window: timedelta
    refund: Refund | None
    history: Sequence[Transition]

    @property
    def status(self) -> OrderStatus:
        """Where it stands."""
        return self.history[-1].after

    @property
    def opened_at(self) -> datetime:
        """When its stock was reserved and its payment opened."""
        return self.at + _PENDING_AFTER

    @property
    def deadline(self) -> datetime | None:
        """Until when it had to be paid."""
        return None if self.payment_id is None else self.opened_at + self.window


def moment(at: datetime) -> str:
    """A moment as events have it."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


class Stories:
    """Tells one order after the other, the first one first."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._random = Random(shape.seed)  # noqa: S311  # the same rows each time
        self.catalogue = Catalogue(shape, self._random)
        self.people = People(shape, self._random)
        self._endings = list(_SHARES)
        self._weights = list(_SHARES.values())

    def __iter__(self) -> Iterator[FilledOrder]:
        step = SPAN / self._shape.orders
        for number in range(self._shape.orders):
            yield self._tell(number, self._shape.began_at + step * (number + 1))

    def _tell(self, number: int, at: datetime) -> FilledOrder:
        random, shape = self._random, self._shape
        order_id, account = drawn_id(random, at), self.people.next_customer(number)
        is_open = number >= shape.orders - shape.open_orders
        ending = Ending.OPEN if is_open else random.choices(self._endings, self._weights)[0]
        lines = self.catalogue.next_lines()
        shipping = _SHIPPING if random.random() < _WITH_SHIPPING else 0
        is_priced = ending is not Ending.OUT_OF_STOCK
        total = sum(line.total for line in lines) + shipping if is_priced else None
        refund = _refund(random, ending, total, at)
        history: list[Transition] = []
        order = FilledOrder(
            id=order_id,
            number=order_number_of((number * _STEP + shape.seed) % (1 << RANDOM_BITS)),
            account=account,
            user_id=drawn_id(random, at) if account is None else account.id,
            at=at,
            ending=ending,
            is_recent=shape.is_recent(number, of=shape.orders),
            lines=lines,
            shipping=shipping,
            total=total,
            payment_id=drawn_id(random, at + _PENDING_AFTER) if is_priced else None,
            window=_OPEN_WINDOW if is_open else _WINDOW,
            refund=refund,
            history=history,
        )
        for after, reason, cause_id, moved_at in _arrows(order):
            history.append(_transition(order, after, reason, cause_id, moved_at))
        return order


def _refund(random: Random, ending: Ending, total: int | None, at: datetime) -> Refund | None:
    if total is None or ending not in (Ending.REFUNDED, Ending.PARTIALLY_REFUNDED):
        return None
    refunded_at = at + _REFUNDED_AFTER
    return Refund(drawn_id(random, refunded_at), total if ending is Ending.REFUNDED else total // 2, refunded_at)


def _arrows(order: FilledOrder) -> Iterator[tuple[OrderStatus, str | None, str, datetime]]:
    """Status, reason, cause and moment of each arrow."""
    yield OrderStatus.RECEIVED, None, ACCEPTED_CAUSE, order.at
    closed = "order_saga:closed"
    if order.ending is Ending.OUT_OF_STOCK:
        yield OrderStatus.FAILED, Reason.OUT_OF_STOCK, closed, order.opened_at
        return
    yield OrderStatus.PENDING, None, "order_saga:pending", order.opened_at
    match order.ending:
        case Ending.NOT_PAID:
            yield OrderStatus.FAILED, Reason.PAYMENT_TIMEOUT, closed, order.opened_at + order.window
        case Ending.CANCELLED:
            yield OrderStatus.CANCELLED, CancelledBy.CUSTOMER, closed, order.at + _CANCELLED_AFTER
        case Ending.OPEN:
            return
        case _:
            yield OrderStatus.PAID, None, closed, order.at + _PAID_AFTER
    if order.refund is not None and order.total is not None:
        status = refunded_status(refunded=order.refund.amount, total=order.total)
        yield status, None, f"refund:{order.refund.id}:2", order.refund.at


def _transition(order: FilledOrder, after: OrderStatus, reason: str | None, cause_id: str, at: datetime) -> Transition:
    before = order.history[-1].after if order.history else None
    is_refund = after in (OrderStatus.REFUNDED, OrderStatus.PARTIALLY_REFUNDED)
    event = REFUNDED_EVENT if is_refund else EVENT_TYPES[after]
    data = to_json(_data(order, before, after, reason, at, order.refund if is_refund else None))
    return Transition(len(order.history) + 1, before, after, reason, cause_id, at, event, data)


def _data(
    order: FilledOrder,
    before: OrderStatus | None,
    after: OrderStatus,
    reason: str | None,
    at: datetime,
    refund: Refund | None,
) -> dict[str, Any]:
    """As `services.order.events` has it, without a message in between, which would take longer than all the rest."""
    is_priced = order.total is not None and before is not None
    deadline = order.deadline if is_priced else None
    return {
        "orderId": order.id,
        "userId": order.user_id,
        "fromStatus": before or "",
        "toStatus": after,
        "currency": CURRENCY,
        "total": str(order.total if is_priced else 0),
        "lines": [
            {
                "productId": line.product.id,
                "quantity": line.quantity,
                "unitPrice": str(line.product.price if is_priced else 0),
                "name": line.product.name if is_priced else "",
            }
            for line in order.lines
        ],
        "at": moment(at),
        **({} if deadline is None else {"paymentDeadline": moment(deadline)}),
        "orderNumber": order.number,
        "reason": reason or "",
        "refunded": str(refund.amount if refund else 0),
        "refundId": refund.id if refund else "",
        "refundAmount": str(refund.amount if refund else 0),
        "isGuest": order.account is None,
        "adjustments": [{"type": "shipping", "name": "Shipping", "amount": str(order.shipping)}]
        if order.shipping
        else [],
    }
