"""Examples in the API's description: of each body, of each answer, and of each problem."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from api import problems as p
from api.description import operations
from api.examples import ANSWERS, REQUESTS
from api.problems import FieldError, Kind, Problem

_DETAILS: Final[Mapping[Kind, str]] = {
    p.VALIDATION: "1 field(s) are wrong; see errors.",
    p.MISSING_TOKEN: "Send an access token as Authorization: Bearer <token>.",
    p.TOO_MANY_REQUESTS: "The limit of orders is 30 in 60 seconds; try again in 2 s.",
}
"""Of kinds whose title does not say all."""
_FAULT: Final = FieldError("name", "must be text of 1 to 100 characters, none of them NUL")

_ALWAYS: Final[Mapping[str, Sequence[Kind]]] = {
    "400": [p.VALIDATION],
    "401": [p.MISSING_TOKEN, p.INVALID_TOKEN, p.EXPIRED_TOKEN],
    "403": [p.FORBIDDEN],
    "404": [p.NOT_FOUND],
    "412": [p.STALE_VERSION],
    "413": [p.CONTENT_TOO_LARGE],
    "415": [p.UNSUPPORTED_MEDIA_TYPE],
    "422": [p.IDEMPOTENCY_KEY_REUSED],
    "429": [p.TOO_MANY_REQUESTS],
    "500": [p.INTERNAL],
    "501": [p.SMS_NOT_CONFIGURED],
    "503": [p.SERVICE_UNAVAILABLE],
}
_OF: Final[Mapping[str, Mapping[str, Sequence[Kind]]]] = {
    "registerUser": {"409": [p.EMAIL_TAKEN]},
    "updateUser": {"409": [p.LAST_ADMIN]},
    "eraseUser": {"409": [p.LAST_ADMIN]},
    "eraseCurrentUser": {"401": [p.BAD_CREDENTIALS, p.MISSING_TOKEN], "409": [p.LAST_ADMIN]},
    "requestConfirmation": {"429": [p.TOO_MANY_REQUESTS, p.TOO_MANY_MAILS]},
    "confirmEmail": {"400": [p.VALIDATION, p.LINK_NOT_VALID], "409": [p.EMAIL_TAKEN]},
    "resetPassword": {"400": [p.VALIDATION, p.LINK_NOT_VALID]},
    "changePassword": {"401": [p.BAD_CREDENTIALS, p.MISSING_TOKEN]},
    "changeEmail": {
        "401": [p.BAD_CREDENTIALS, p.MISSING_TOKEN],
        "409": [p.EMAIL_TAKEN],
        "429": [p.TOO_MANY_REQUESTS, p.TOO_MANY_MAILS],
    },
    "createToken": {"401": [p.BAD_CREDENTIALS], "403": [p.ACCOUNT_DISABLED]},
    "refreshToken": {"401": [p.INVALID_REFRESH_TOKEN, p.EXPIRED_REFRESH_TOKEN, p.REFRESH_TOKEN_REUSED]},
    "adjustStock": {"409": [p.OUT_OF_STOCK]},
    "placeOrder": {
        "400": [p.VALIDATION, p.IDEMPOTENCY_KEY_MISSING],
        "403": [p.FORBIDDEN, p.BACK_END_ONLY],
        "409": [p.TOO_MANY_OPEN_ORDERS, p.TOO_MANY_HELD_UNITS, p.IDEMPOTENCY_KEY_IN_USE],
        "422": [p.PAYMENT_WINDOW_TOO_LONG, p.IDEMPOTENCY_KEY_REUSED],
    },
    "placeGuestOrder": {
        "400": [p.VALIDATION, p.IDEMPOTENCY_KEY_MISSING],
        "401": [p.INVALID_TOKEN, p.EXPIRED_TOKEN],
        "403": [p.GUEST_CHECKOUT_OFF, p.BACK_END_ONLY],
        "409": [p.TOO_MANY_OPEN_ORDERS, p.TOO_MANY_HELD_UNITS, p.IDEMPOTENCY_KEY_IN_USE],
        "422": [p.PAYMENT_WINDOW_TOO_LONG, p.IDEMPOTENCY_KEY_REUSED],
    },
    "eraseGuest": {"409": [p.ORDER_STILL_OPEN, p.ORDER_HAS_NO_GUEST]},
    "streamOrderEvents": {"429": [p.TOO_MANY_REQUESTS, p.TOO_MANY_STREAMS]},
    "approveRefund": {
        "409": [p.ORDER_NOT_REFUNDABLE, p.REFUND_EXCEEDS_PAYMENT, p.REFUND_NEEDS_NO_APPROVAL, p.PAYMENT_DISPUTED]
    },
    "cancelOrder": {
        "400": [p.VALIDATION, p.IDEMPOTENCY_KEY_MISSING],
        "409": [p.ORDER_NOT_CANCELLABLE, p.IDEMPOTENCY_KEY_IN_USE],
    },
    "refundOrder": {
        "400": [p.VALIDATION, p.IDEMPOTENCY_KEY_MISSING],
        "403": [p.FORBIDDEN, p.REFUND_NEEDS_ADMIN, p.REFUND_NEEDS_APPROVAL],
        "409": [
            *(p.ORDER_NOT_REFUNDABLE, p.REFUND_EXCEEDS_PAYMENT, p.RESTOCK_EXCEEDS_ORDER),
            *(p.PAYMENT_DISPUTED, p.IDEMPOTENCY_KEY_IN_USE),
        ],
    },
    "receiveStripeEvent": {"400": [p.BAD_WEBHOOK_SIGNATURE, p.BAD_WEBHOOK_BODY]},
}
"""Operations that answer with other problems, or with more of them."""


class MissingExample(Exception):
    """An operation has a body, an answer or a problem, and no example of it."""


def describe_examples(document: dict[str, Any]) -> None:
    """Add to each operation examples of what is sent and of what is answered.

    Raises:
        MissingExample: naming what has none.
    """
    kinds: dict[str, Kind] = {}
    for operation in operations(document):
        name = operation["operationId"]
        for media in operation.get("requestBody", {}).get("content", {}).values():
            requests = _known(REQUESTS, name, "request")
            media["examples"] = {each: {"value": _sent(example)} for each, example in requests.items()}
        for status, response in operation["responses"].items():
            for media_type, media in response.get("content", {}).items():
                if media_type == p.MEDIA_TYPE:
                    its = {kind.name: kind for kind in _problems(name, status)}
                    kinds |= its
                    media["examples"] = {kind: {"$ref": f"#/components/examples/{kind}"} for kind in its}
                else:
                    media["example"] = msgspec.to_builtins(_known(ANSWERS, name, "answer"))
    document["components"]["examples"] = {name: _show(kinds[name]) for name in sorted(kinds)}


def _known(examples: Mapping[str, Any], operation: str, what: str) -> Any:
    if operation not in examples:
        raise MissingExample(f"{operation} has no example of its {what} in api/examples.py")
    return examples[operation]


def _sent(request: Any) -> Any:
    """A request as a client writes it, who leaves out what it does not say."""
    data = msgspec.to_builtins(request)
    return {name: value for name, value in data.items() if value not in (None, [], {})}


def _problems(operation: str, status: str) -> Sequence[Kind]:
    kinds = _OF.get(operation, {}).get(status) or _ALWAYS.get(status)
    if kinds is None:
        raise MissingExample(f"{operation} has no problem for {status} in api/example_description.py")
    return kinds


def _show(kind: Kind) -> dict[str, Any]:
    problem = Problem(
        type=kind.urn,
        title=kind.title,
        status=kind.status,
        detail=_DETAILS.get(kind, f"{kind.title}."),
        errors=[_FAULT] if kind is p.VALIDATION else [],
    )
    return {"summary": kind.title, "value": msgspec.to_builtins(problem)}
