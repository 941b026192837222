"""Which limits an operation has. One that is not named here has those of its kind, so that none is without."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from litestar.handlers.base import BaseRouteHandler

from domain.rate_limits import Limit
from runtime.caller import CallerRole

_BY_ADDRESS: Final[Mapping[str, Limit]] = {
    "registerUser": Limit.SIGN_UPS,
    "createToken": Limit.LOGINS,
    "requestGuestLink": Limit.GUEST_LINKS,
    "refreshToken": Limit.REFRESHES,
    "logOut": Limit.REFRESHES,
    "receiveStripeEvent": Limit.WEBHOOKS,
}
_BY_ACCOUNT: Final[Mapping[str, Limit]] = {
    "placeOrder": Limit.ORDERS,
    "cancelOrder": Limit.CANCELS,
    "refundOrder": Limit.REFUNDS,
}
_BY_BACK_END: Final = frozenset({"placeOrder", "placeGuestOrder"})
"""What an admin asks for on behalf of customers: its one account asks for all of them."""
_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def limit_of_address(handler: BaseRouteHandler) -> Limit | None:
    """The limit of an address that asks for this, before anything else is looked at; None for what is no operation."""
    operation = _operation(handler)
    if operation is None:
        return None
    if operation in _BY_ADDRESS:
        return _BY_ADDRESS[operation]
    if getattr(handler, "security", None):
        return Limit.REQUESTS
    return _by_method(handler)


def limit_of_account(handler: BaseRouteHandler, role: CallerRole) -> Limit | None:
    """The limit of an account that asks for this, whose token was found to be valid."""
    operation = _operation(handler)
    if operation is None:
        return None
    if role is CallerRole.ADMIN and operation in _BY_BACK_END:
        return Limit.BACK_END_ORDERS
    return _BY_ACCOUNT.get(operation) or _by_method(handler)


def _operation(handler: BaseRouteHandler) -> str | None:
    operation = getattr(handler, "operation_id", None)
    return operation if isinstance(operation, str) else None


def _by_method(handler: BaseRouteHandler) -> Limit:
    methods: frozenset[str] = frozenset(getattr(handler, "http_methods", ()))
    return Limit.READS if methods <= _READING else Limit.WRITES
