"""Stripe's webhook signatures (https://docs.stripe.com/webhooks#verify-manually), checked on the raw bytes.

The SDK decodes the body before it checks the signature, so that a body that is no text would pass for a forged one.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from services.payment.webhooks.errors import BadWebhookSignature

TOLERANCE: Final = 300
"""Seconds that a signature is good for."""


def check_signature(*, body: bytes, header: str, secrets: Sequence[str], now: float) -> None:
    """Check that Stripe signed `body` with one of our `secrets` within the tolerance before `now` (unix seconds).

    Raises:
        BadWebhookSignature: the message says whether the signature is missing, forged or old.
    """
    if not header:
        raise BadWebhookSignature("the Stripe-Signature header is missing")
    items = [item.strip().partition("=") for item in header.split(",")]
    times = [value for name, _, value in items if name == "t"]
    signatures = [value.encode() for name, _, value in items if name == "v1"]
    if len(times) != 1 or not times[0].isdecimal() or len(times[0]) > 12 or not signatures:
        raise BadWebhookSignature("the Stripe-Signature header has no time or no v1 signature")
    signed = times[0].encode() + b"." + body
    expected = [hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest().encode() for secret in secrets]
    if not any(hmac.compare_digest(one, other) for one in expected for other in signatures):
        raise BadWebhookSignature("the signature is forged, or made with another secret")
    if abs(now - int(times[0])) > TOLERANCE:
        raise BadWebhookSignature(f"the signature is older than {TOLERANCE} s")
