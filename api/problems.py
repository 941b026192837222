"""Every error as a problem (RFC 9457): its kinds, and which refusal of a service is which.

A problem's `type` is a URN that never changes meaning; clients distinguish problems by it, not by the texts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from errno import ENAMETOOLONG
from http import HTTPStatus
from typing import Any, Final

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.openapi.datastructures import ResponseSpec
from litestar.types import ExceptionHandlersMap

from api.measuring import has_hung_up
from domain.refusals import Refusal
from runtime.http_limits import PROBLEM_MEDIA_TYPE, problem_urn
from runtime.limits.limiter import LimitExceeded
from runtime.refusal import CallRefused, Refused
from runtime.rpc_client import ServiceUnavailable

log = structlog.stdlib.get_logger(__name__)

MEDIA_TYPE: Final = PROBLEM_MEDIA_TYPE


class FieldError(msgspec.Struct, frozen=True):
    """What is wrong with one field, header or parameter of a request."""

    field: str
    message: str


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a request was not served (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str | None = None
    errors: list[FieldError] = []


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem: its HTTP status, the last part of its URN, and its title."""

    status: int
    name: str
    title: str

    @property
    def urn(self) -> str:
        """The problem's `type`."""
        return problem_urn(self.name)


BAD_REQUEST = Kind(400, "bad-request", "Bad request")
VALIDATION = Kind(400, "validation", "The request does not fit the contract")
MALFORMED_JSON = Kind(400, "malformed-json", "The body is not JSON")
IDEMPOTENCY_KEY_MISSING = Kind(400, "idempotency-key-missing", "The Idempotency-Key header is missing")
BAD_WEBHOOK_SIGNATURE = Kind(400, "bad-webhook-signature", "The webhook's signature does not hold")
BAD_WEBHOOK_BODY = Kind(400, "bad-webhook-body", "The webhook's body is no event")
LINK_NOT_VALID = Kind(400, "link-not-valid", "The link is not valid")
MISSING_TOKEN = Kind(401, "missing-token", "An access token is needed")
INVALID_TOKEN = Kind(401, "invalid-token", "The access token is not valid")
EXPIRED_TOKEN = Kind(401, "expired-token", "The access token has expired")
BAD_CREDENTIALS = Kind(401, "bad-credentials", "E-mail or password is wrong")
INVALID_REFRESH_TOKEN = Kind(401, "invalid-refresh-token", "The refresh token is not valid")
EXPIRED_REFRESH_TOKEN = Kind(401, "expired-refresh-token", "The refresh token has expired")
REFRESH_TOKEN_REUSED = Kind(401, "refresh-token-reused", "The refresh token was used before")
GUEST_CHECKOUT_OFF = Kind(403, "guest-checkout-off", "Orders need an account here")
BACK_END_ONLY = Kind(403, "back-end-only", "Only the shop's back end may say this")
FORBIDDEN = Kind(403, "forbidden", "Your role does not allow this")
ACCOUNT_DISABLED = Kind(403, "account-disabled", "The account is disabled")
REFUND_NEEDS_ADMIN = Kind(403, "refund-needs-admin", "An admin has to make this refund")
REFUND_NEEDS_APPROVAL = Kind(403, "refund-needs-approval", "A second person has to approve this refund")
NOT_FOUND = Kind(404, "not-found", "There is no such thing")
METHOD_NOT_ALLOWED = Kind(405, "method-not-allowed", "The method is not allowed here")
LAST_ADMIN = Kind(409, "last-admin", "No admin would be left")
EMAIL_TAKEN = Kind(409, "email-taken", "The e-mail address has an account")
ORDER_STILL_OPEN = Kind(409, "order-still-open", "The order has not ended yet")
ORDER_HAS_NO_GUEST = Kind(409, "order-has-no-guest", "An account has the order")
ORDER_NOT_CANCELLABLE = Kind(409, "order-not-cancellable", "The order can no longer be cancelled")
ORDER_NOT_REFUNDABLE = Kind(409, "order-not-refundable", "Nothing of the order can be refunded")
REFUND_EXCEEDS_PAYMENT = Kind(409, "refund-exceeds-payment", "Less is left of what was paid")
REFUND_NEEDS_NO_APPROVAL = Kind(409, "refund-needs-no-approval", "One person alone may make this refund")
RESTOCK_EXCEEDS_ORDER = Kind(409, "restock-exceeds-order", "Fewer units of the order are left to be put back")
PAYMENT_DISPUTED = Kind(409, "payment-disputed", "The customer's bank decides about the money")
IDEMPOTENCY_KEY_IN_USE = Kind(409, "idempotency-key-in-use", "A request with this Idempotency-Key is being answered")
TOO_MANY_OPEN_ORDERS = Kind(409, "too-many-open-orders", "You have too many unpaid orders")
TOO_MANY_HELD_UNITS = Kind(409, "too-many-held-units", "Your unpaid orders would hold too many units")
OUT_OF_STOCK = Kind(409, "out-of-stock", "There is not enough stock")
STALE_VERSION = Kind(412, "stale-version", "It has changed since you read it")
CONTENT_TOO_LARGE = Kind(413, "content-too-large", "The body is too large")
UNSUPPORTED_MEDIA_TYPE = Kind(415, "unsupported-media-type", "The body must be JSON")
TOO_MANY_REQUESTS = Kind(429, "too-many-requests", "You ask too often")
IDEMPOTENCY_KEY_REUSED = Kind(422, "idempotency-key-reused", "The Idempotency-Key stands for another request")
TOO_MANY_MAILS = Kind(429, "too-many-mails", "Several mails were sent already")
PAYMENT_WINDOW_TOO_LONG = Kind(422, "payment-window-too-long", "Nobody may take so long to pay")
TOO_MANY_STREAMS = Kind(429, "too-many-streams", "You have too many streams open")
INTERNAL = Kind(500, "internal", "Something broke on our side")
SMS_NOT_CONFIGURED = Kind(501, "sms-not-configured", "No SMS can be sent from here")
BUSY = Kind(503, "busy", "There is more to do than can be done")
SERVICE_UNAVAILABLE = Kind(503, "service-unavailable", "A part of the shop does not answer")

_BY_REFUSAL: Final[Mapping[Refusal, Kind]] = {
    Refusal.INVALID_ARGUMENT: VALIDATION,
    Refusal.PERMISSION_DENIED: FORBIDDEN,
    Refusal.UNAUTHENTICATED: INVALID_TOKEN,
    Refusal.USER_NOT_FOUND: NOT_FOUND,
    Refusal.USER_ERASED: NOT_FOUND,
    Refusal.EMAIL_TAKEN: EMAIL_TAKEN,
    Refusal.ACCOUNT_DISABLED: ACCOUNT_DISABLED,
    Refusal.LAST_ADMIN: LAST_ADMIN,
    Refusal.SESSION_NOT_FOUND: NOT_FOUND,
    Refusal.LINK_NOT_VALID: LINK_NOT_VALID,
    Refusal.TOO_MANY_MAILS: TOO_MANY_MAILS,
    Refusal.BAD_CREDENTIALS: BAD_CREDENTIALS,
    Refusal.INVALID_REFRESH_TOKEN: INVALID_REFRESH_TOKEN,
    Refusal.EXPIRED_REFRESH_TOKEN: EXPIRED_REFRESH_TOKEN,
    Refusal.REFRESH_TOKEN_REUSED: REFRESH_TOKEN_REUSED,
    Refusal.PRODUCT_NOT_FOUND: NOT_FOUND,
    Refusal.STALE_VERSION: STALE_VERSION,
    Refusal.PAYMENT_NOT_FOUND: NOT_FOUND,
    Refusal.ORDER_NOT_FOUND: NOT_FOUND,
    Refusal.GUEST_CHECKOUT_OFF: GUEST_CHECKOUT_OFF,
    Refusal.ORDER_STILL_OPEN: ORDER_STILL_OPEN,
    Refusal.ORDER_HAS_NO_GUEST: ORDER_HAS_NO_GUEST,
    Refusal.ORDER_NOT_CANCELLABLE: ORDER_NOT_CANCELLABLE,
    Refusal.PAYMENT_WINDOW_TOO_LONG: PAYMENT_WINDOW_TOO_LONG,
    Refusal.TOO_MANY_OPEN_ORDERS: TOO_MANY_OPEN_ORDERS,
    Refusal.TOO_MANY_HELD_UNITS: TOO_MANY_HELD_UNITS,
    Refusal.PAYMENT_NOT_REFUNDABLE: ORDER_NOT_REFUNDABLE,
    Refusal.REFUND_EXCEEDS_PAYMENT: REFUND_EXCEEDS_PAYMENT,
    Refusal.REFUND_NEEDS_ADMIN: REFUND_NEEDS_ADMIN,
    Refusal.REFUND_NEEDS_APPROVAL: REFUND_NEEDS_APPROVAL,
    Refusal.REFUND_NEEDS_NO_APPROVAL: REFUND_NEEDS_NO_APPROVAL,
    Refusal.RESTOCK_EXCEEDS_SALE: RESTOCK_EXCEEDS_ORDER,
    Refusal.PAYMENT_DISPUTED: PAYMENT_DISPUTED,
    Refusal.OUT_OF_STOCK: OUT_OF_STOCK,
    Refusal.ADJUSTMENT_DIFFERS: IDEMPOTENCY_KEY_REUSED,
    Refusal.NOTIFICATION_DIFFERS: IDEMPOTENCY_KEY_REUSED,
    Refusal.SMS_NOT_CONFIGURED: SMS_NOT_CONFIGURED,
    Refusal.IDEMPOTENCY_KEY_REUSED: IDEMPOTENCY_KEY_REUSED,
    Refusal.IDEMPOTENCY_KEY_IN_USE: IDEMPOTENCY_KEY_IN_USE,
    Refusal.BAD_WEBHOOK_SIGNATURE: BAD_WEBHOOK_SIGNATURE,
    Refusal.BAD_WEBHOOK_BODY: BAD_WEBHOOK_BODY,
}
"""The refusals that calls of the gateway can meet; those between the services never come here."""

_BY_STATUS: Final[Mapping[int, Kind]] = {
    kind.status: kind for kind in (NOT_FOUND, METHOD_NOT_ALLOWED, CONTENT_TOO_LARGE)
}
"""What Litestar itself refuses; the rest is a bad request."""

_HTTP_NAMES: Final[Mapping[str, str]] = {
    "idempotency_key": "Idempotency-Key",
    "page_size": "limit",
    "page_token": "cursor",
}
"""Fields that are called otherwise over HTTP than over gRPC."""


class ProblemError(Exception):
    """Ends a request with a problem."""

    def __init__(self, kind: Kind, detail: str, *, violations: Sequence[FieldError] = ()) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.violations = list(violations)


def declared(*statuses: int) -> dict[int, ResponseSpec]:
    """The problems that an operation may answer with, for its OpenAPI description; 500 and 503 always may."""
    return {
        status: ResponseSpec(
            Problem, generate_examples=False, description=HTTPStatus(status).phrase, media_type=MEDIA_TYPE
        )
        for status in (*statuses, 500, 503)
    }


def _respond(
    request: Request[Any, Any, Any],
    kind: Kind,
    detail: str,
    *,
    violations: Sequence[FieldError] = (),
    headers: Mapping[str, str] | None = None,
) -> Response[Problem]:
    answer_headers = dict(headers or {})
    if kind.status == HTTPStatus.UNAUTHORIZED:  # RFC 6750, section 3
        faulty = kind in (INVALID_TOKEN, EXPIRED_TOKEN)
        answer_headers["WWW-Authenticate"] = 'Bearer error="invalid_token"' if faulty else "Bearer"
    if kind.status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        answer_headers.setdefault("Retry-After", "1")
    body = Problem(
        type=kind.urn,
        title=kind.title,
        status=kind.status,
        detail=detail,
        instance=request.scope["path"],  # the URL is made of the Host header, which may be nonsense
        errors=list(violations),
    )
    return Response(body, status_code=kind.status, media_type=MEDIA_TYPE, headers=answer_headers)


def _from_problem(request: Request[Any, Any, Any], error: ProblemError) -> Response[Problem]:
    return _respond(request, error.kind, error.detail, violations=error.violations)


def _from_refusal(request: Request[Any, Any, Any], error: Refused | CallRefused) -> Response[Problem]:
    kind = _BY_REFUSAL.get(error.refusal)
    if kind is None:
        log.error("request.refused_unexpectedly", refusal=error.refusal.value, problem=error.message)
        return _respond(request, INTERNAL, "The request could not be served.")
    if kind is VALIDATION:
        violations = [
            FieldError(_HTTP_NAMES.get(field, field), violation) for field, violation in error.details.items()
        ]
        return _respond(request, kind, f"{error.message}; see errors.", violations=violations)
    return _respond(request, kind, error.message)


def _from_limit(request: Request[Any, Any, Any], error: LimitExceeded) -> Response[Problem]:
    limit, rate, wait = error.standing.limit, error.standing.rate, error.standing.wait
    return _respond(
        request,
        TOO_MANY_REQUESTS,
        f"The limit of {limit.value} is {rate.count} in {rate.seconds} seconds; try again in {wait} s.",
        headers={"Retry-After": str(wait)},
    )


def _from_unavailable(request: Request[Any, Any, Any], error: ServiceUnavailable) -> Response[Problem]:
    if error.retry_after is not None:  # no line in the log: there would be many, and the service counts them
        wait = max(math.ceil(error.retry_after), 1)
        return _respond(
            request,
            BUSY,
            f"Nothing of the request was begun. Send it again in {wait} s, with its Idempotency-Key if it has one.",
            headers={"Retry-After": str(wait)},
        )
    log.warning("request.service_unavailable", path=request.scope["path"], code=error.code.name, problem=str(error))
    return _respond(
        request,
        SERVICE_UNAVAILABLE,
        f"The {error.service} service failed or did not answer; whether the request took effect is not known.",
    )


def _from_http(request: Request[Any, Any, Any], error: HTTPException) -> Response[Problem]:
    if isinstance(error.extra, list):  # Litestar's list of parameters that do not fit
        violations = [
            FieldError(str(violation.get("key", "")), str(violation.get("message", ""))) for violation in error.extra
        ]
        if any(violation.field == "data" for violation in violations):  # a body reaches us decoded, or not at all
            return _respond(request, MALFORMED_JSON, "The body is empty.")
        return _respond(request, VALIDATION, "Some parameters are wrong; see errors.", violations=violations)
    if error.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        if has_hung_up(request.scope):
            return _respond(request, BAD_REQUEST, "The request broke off.")
        if isinstance(error.__cause__, OSError) and error.__cause__.errno == ENAMETOOLONG:
            return _respond(request, NOT_FOUND, NOT_FOUND.title)
        return _from_defect(request, error)
    kind = _BY_STATUS.get(error.status_code, BAD_REQUEST)
    return _respond(request, kind, error.detail or kind.title, headers=error.headers)


def _from_defect(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    log.error("request.failed", path=request.scope["path"], method=request.method, exc_info=error)
    return _respond(request, INTERNAL, "The request could not be served; our log has the cause.")


EXCEPTION_HANDLERS: Final[ExceptionHandlersMap] = {
    ProblemError: _from_problem,
    LimitExceeded: _from_limit,
    Refused: _from_refusal,
    CallRefused: _from_refusal,
    ServiceUnavailable: _from_unavailable,
    HTTPException: _from_http,
    Exception: _from_defect,
}
