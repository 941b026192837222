"""Stripe's errors: status, type, code and the objects that came with them (https://docs.stripe.com/api/errors)."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any

import msgspec

from sandbox.stripe.objects import Intent, PaymentError
from sandbox.stripe.resources import Resource


class ErrorType(StrEnum):
    """What kind of error it is; SDKs choose their exception by it and by the status."""

    API = "api_error"
    CARD = "card_error"
    IDEMPOTENCY = "idempotency_error"
    INVALID_REQUEST = "invalid_request_error"


class ApiError(Exception):
    """An answer that is no success, in Stripe's shape."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: ErrorType = ErrorType.INVALID_REQUEST,
        code: str | None = None,
        param: str | None = None,
        intent: Intent | None = None,
        failure: PaymentError | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.code = code
        self.param = param
        self.intent = intent
        self.failure = failure

    def body(self) -> dict[str, Any]:
        """The JSON object that is answered."""
        error: dict[str, Any] = {"type": self.kind, "message": self.message}
        if self.failure is not None:
            error |= msgspec.to_builtins(self.failure)
        if self.code is not None:
            error["code"] = self.code
        if self.param is not None:
            error["param"] = self.param
        if "code" in error:
            error["doc_url"] = doc_url(error["code"])
        if self.intent is not None:
            error["payment_intent"] = self.intent
        return {"error": error}


def doc_url(code: str) -> str:
    """The page about an error's code, as Stripe's answers name it."""
    return f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}"


def invalid(message: str, *, param: str | None = None, code: str | None = None) -> ApiError:
    """A 400: the request cannot be carried out as it stands."""
    return ApiError(400, message, code=code, param=param)


def missing(resource: type[Resource], object_id: str, *, param: str | None = None) -> ApiError:
    """No object has this id: 404 when the path names it, 400 when a parameter does."""
    status = 404 if param is None else 400
    return ApiError(status, f"No such {resource.noun}: '{object_id}'", code="resource_missing", param=param or "id")


def unexpected_state(intent: Intent, message: str) -> ApiError:
    """The intent's status forbids the call; the answer carries the intent as it is."""
    return ApiError(400, message, code="payment_intent_unexpected_state", intent=intent)


def too_many_calls() -> ApiError:
    """Stripe executes nothing for a while."""
    message = "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits."
    return ApiError(429, message, kind=ErrorType.INVALID_REQUEST, code="rate_limit")


def unknown_failure() -> ApiError:
    """Stripe's own failure: nothing is known about what was done."""
    return ApiError(500, "An unknown error occurred", kind=ErrorType.API)


def unrecognized_request(method: str, path: str) -> ApiError:
    """The API has no such call, or the double has it not."""
    return ApiError(404, f"Unrecognized request URL ({method}: {path}).")


def mismatch(message: str) -> ApiError:
    """A switch's JSON does not fit. Names the field: msgspec gives a path for a wrong value, else the field's name."""
    path = re.search(r"at `\$\.?([^`]*)`", message)
    field = re.search(r"field `([^`]*)`", message)
    parts = [match[1] for match in (path, field) if match and match[1]]
    return invalid(message, param=".".join(parts) or None)
