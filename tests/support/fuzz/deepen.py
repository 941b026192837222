"""Requests that name what there is: what a document says of ids, no chance would ever hit."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any, Final

from schemathesis.core.parameters import ParameterLocation

from tests.support.client import PASSWORD
from tests.support.fuzz.draw import AnyCase, operation_id
from tests.support.fuzz.shop import ADDRESSES, METHODS, Json, Known, choose

SHARE: Final = 0.75
"""Of the requests; the others name what there is not."""


def deepen(case: AnyCase, known: Known, chance: random.Random) -> None:
    """Let a request name things that there are, and leave what of it breaks the document."""
    if chance.random() > SHARE:
        return
    meta = case.meta
    if case.path_parameters and not (meta and meta.is_negative_at(ParameterLocation.PATH)):
        case.path_parameters = {
            name: choose(chance, _IDS[name](known, case)) for name in case.path_parameters if name in _IDS
        } | {name: value for name, value in case.path_parameters.items() if name not in _IDS}
    if meta is None or not meta.generation.mode.is_positive:
        return
    if case.query:
        case.query = {name: _QUERY[name](known, chance) if name in _QUERY else case.query[name] for name in case.query}
    operation = operation_id(case.operation)
    if case.headers and chance.random() < SHARE:
        case.headers.pop("If-Match", None)  # no chance would ever hit a version
    if isinstance(case.body, dict) and operation in _BODIES:
        case.body = {**case.body, **_BODIES[operation](known, chance)}


_QUERY: Final[Mapping[str, Callable[[Known, random.Random], str]]] = {
    "cursor": lambda known, chance: choose(chance, known.cursors) if known.cursors else "",
    "email": lambda known, chance: choose(chance, known.emails),
    "customer": lambda known, chance: choose(chance, known.users),
}


_ORDERS: Final = {
    "refundOrder": "paid",
    "approveRefund": "paid",
    "cancelOrder": "pending",
    "streamOrderEvents": "ended",
    "eraseGuest": "guests",
}
"""Which orders some operations are about: the stream of one that has ended has an end."""
_IDS: Final[Mapping[str, Callable[[Known, AnyCase], list[str]]]] = {
    "order_id": lambda known, case: getattr(known, _ORDERS.get(operation_id(case.operation), "orders")),
    "product_id": lambda known, case: known.products if case.method != "DELETE" else known.products[4:],
    "user_id": lambda known, case: known.users if case.method != "DELETE" else known.users[1:],
    "payment_id": lambda known, _: known.payments,
}


def _order(known: Known, chance: random.Random) -> Json:
    products = chance.sample(known.products, chance.randint(1, 3))
    return {
        "lines": [{"product_id": product, "quantity": chance.randint(1, 3)} for product in products],
        "currency": "EUR",
        "shipping_address": chance.choice(ADDRESSES),
        "payment_method": chance.choice(METHODS),
        "expected_total": None,
        "payment_window_seconds": chance.choice((None, 3, 600)),
    }


def _adjustments(chance: random.Random) -> list[Json]:
    kinds = ({"type": "shipping", "name": "Parcel", "amount": 490}, {"type": "discount", "name": "Gift", "amount": 100})
    return chance.sample(kinds, chance.randint(0, len(kinds)))


def _order_of_customer(known: Known, chance: random.Random) -> Json:
    """One in three for somebody, as a back end places it."""
    customer = choose(chance, known.users) if chance.random() < 1 / 3 else None
    return {
        **_order(known, chance),
        "customer": customer,
        "adjustments": None if customer is None else _adjustments(chance),
    }


def _order_of_guest(known: Known, chance: random.Random) -> Json:
    return {**_order(known, chance), "adjustments": _adjustments(chance) if chance.random() < 1 / 3 else None}


def _refund(known: Known, chance: random.Random) -> Json:
    return {
        "amount": chance.choice((None, 1, 100, 10**6)),
        "restock": [{"product_id": choose(chance, known.products), "quantity": 1}] if chance.random() < 0.3 else [],
    }


def _credentials(known: Known, chance: random.Random) -> Json:
    return {"email": choose(chance, known.emails), "password": PASSWORD}


def _refresh(known: Known, chance: random.Random) -> Json:
    return {"refresh_token": choose(chance, known.refresh_tokens)}


def _own_password(_: Known, __: random.Random) -> Json:
    return {"current_password": PASSWORD}


_BODIES: Final[Mapping[str, Callable[[Known, random.Random], Mapping[str, Any]]]] = {
    "placeOrder": _order_of_customer,
    "placeGuestOrder": _order_of_guest,
    "requestGuestLink": lambda known, chance: {"email": choose(chance, known.emails)},
    "refundOrder": _refund,
    "createToken": _credentials,
    "refreshToken": _refresh,
    "logOut": _refresh,
    "changePassword": _own_password,
    "changeEmail": _own_password,
    "eraseCurrentUser": _own_password,
    "requestPasswordReset": lambda known, chance: {"email": choose(chance, known.emails)},
    "sendNotification": lambda known, chance: {"user_id": choose(chance, known.users)},
    "adjustStock": lambda known, chance: {"delta": chance.choice((-1, 1, 5, -(10**9)))},
}
