"""Which webhooks are refused."""

from __future__ import annotations

import grpc

from domain.refusals import Refusal
from runtime.refusal import Refused


class BadWebhookSignature(Refused):
    """A webhook is not signed by Stripe, or not recently."""

    refusal = Refusal.BAD_WEBHOOK_SIGNATURE
    code = grpc.StatusCode.INVALID_ARGUMENT


class BadWebhookBody(Refused):
    """A signed webhook holds no v1 event."""

    refusal = Refusal.BAD_WEBHOOK_BODY
    code = grpc.StatusCode.INVALID_ARGUMENT
