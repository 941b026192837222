"""Who calls: the shop with its secret key, or a customer's browser (https://docs.stripe.com/keys)."""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Any

from sandbox.stripe.api.params import Params, required
from sandbox.stripe.errors import ApiError
from sandbox.stripe.faults import Operation
from sandbox.stripe.objects import Intent

_FOR_CUSTOMERS = frozenset({Operation.INTENT_RETRIEVE, Operation.INTENT_CONFIRM})
_HIDDEN_FROM_CUSTOMERS = frozenset({"application", "application_fee_amount", "customer", "latest_charge", "metadata"})


def is_customer(authorization: str, params: Params, *, operation: Operation, api_key: str) -> bool:
    """Whether the call comes with a publishable key, which may do little and only with an intent's client secret.

    Raises:
        ApiError: 401 without a key or with a wrong one, 403 for what a publishable key may not do, 400 when its call
            does not bring a client secret.
    """
    key = params.text("key") or _key_of(authorization)
    if not key:
        raise ApiError(
            401,
            "You did not provide an API key. You need to provide your API key in the Authorization header, using "
            "Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').",
        )
    if hmac.compare_digest(key.encode(), api_key.encode()):
        return False
    if not key.startswith("pk_"):
        raise ApiError(401, f"Invalid API Key provided: {key[:8]}{'*' * len(key[8:])}")
    if operation not in _FOR_CUSTOMERS:
        raise ApiError(
            403,
            "This API call cannot be made with a publishable API key. Please use a secret API key.",
            code="secret_key_required",
        )
    if params.text("client_secret") is None:
        raise required("client_secret")
    return True


def for_customers(intent: Intent) -> dict[str, Any]:
    """What a customer's browser may see of an intent."""
    return {name: getattr(intent, name) for name in intent.__struct_fields__ if name not in _HIDDEN_FROM_CUSTOMERS}


def _key_of(authorization: str) -> str:
    """The key of ``Bearer <key>``, or of ``Basic`` with the key as user name."""
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(credentials, validate=True).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""
