"""Between the SDK's objects and errors, and the values and errors of this room."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import stripe

from domain.payments import PaymentStatus
from domain.refunds import DisputeStatus, RefundStatus
from services.payment.stripe.amounts import from_stripe
from services.payment.stripe.errors import (
    StripeChargeDisputed,
    StripeDeclined,
    StripeKeySpent,
    StripePermissionMissing,
    StripeRefused,
    StripeSettingRefused,
    StripeStoredRefusal,
    StripeUnavailable,
    StripeUnexpectedState,
)
from services.payment.stripe.model import FailedCharge, Intent, StripeDispute, StripeRefund, WebhookEndpoint

_INTENT_STATUS: Final = {
    "requires_payment_method": PaymentStatus.REQUIRES_PAYMENT_METHOD,
    "requires_confirmation": PaymentStatus.REQUIRES_PAYMENT_METHOD,
    "requires_action": PaymentStatus.REQUIRES_ACTION,
    "processing": PaymentStatus.PROCESSING,
    "succeeded": PaymentStatus.SUCCEEDED,
    "canceled": PaymentStatus.CANCELLED,
}
_REFUND_STATUS: Final = {
    "pending": RefundStatus.PENDING,
    "requires_action": RefundStatus.PENDING,
    "succeeded": RefundStatus.SUCCEEDED,
    "failed": RefundStatus.FAILED,
    "canceled": RefundStatus.CANCELLED,
}
_DISPUTE_STATUS: Final = {status.value.lower(): status for status in DisputeStatus}
_OUR_TYPES: Final = "payment_method_types"
"""Part of the name of the parameter that is a setting, and nothing of the order."""
_REPLAYED: Final = "idempotent-replayed"
"""Header of an answer that Stripe had stored under the key."""


def is_replayed(
    answered: stripe.APIResource[stripe.PaymentIntent]
    | stripe.APIResource[stripe.Refund]
    | stripe.APIResource[stripe.WebhookEndpoint],
) -> bool:
    """Whether Stripe had stored this answer under the key: it shows what was made as it was then."""
    response = answered.last_response
    return response is not None and response.headers.get(_REPLAYED) == "true"


def to_intent(intent: stripe.PaymentIntent) -> Intent:
    """An intent.

    Raises:
        StripeUnavailable: it has a status that no intent of ours can have.
    """
    status = _INTENT_STATUS.get(intent.status)
    if status is None:
        raise StripeUnavailable(f"intent {intent.id} is {intent.status}, which no intent of ours can be")
    currency = intent.currency.upper()
    has_charge = intent.latest_charge is not None or intent.last_payment_error is not None
    return Intent(
        id=intent.id,
        status=status,
        amount_received=from_stripe(intent.amount_received, currency),
        currency=currency,
        may_have_failed_charges=has_charge and status is not PaymentStatus.SUCCEEDED,
        client_secret=intent.client_secret,
    )


def to_failed_charge(charge: stripe.Charge) -> FailedCharge:
    """A charge that failed."""
    return FailedCharge(
        charge_id=charge.id,
        decline_code=(charge.outcome.reason if charge.outcome is not None else None) or charge.failure_code,
        at=datetime.fromtimestamp(charge.created, UTC),
    )


def to_refund(refund: stripe.Refund, *, app: str) -> StripeRefund:
    """A refund; ours if it bears that mark."""
    currency = refund.currency.upper()
    metadata = refund.metadata.to_dict() if refund.metadata is not None else {}
    return StripeRefund(
        id=refund.id,
        status=_REFUND_STATUS[refund.status or "pending"],
        failure_reason=getattr(refund, "failure_reason", None),
        amount=from_stripe(refund.amount, currency),
        currency=currency,
        created_at=datetime.fromtimestamp(refund.created, UTC),
        refund_id=metadata.get("refund_id") if metadata.get("app") == app else None,
    )


def to_dispute(dispute: stripe.Dispute) -> StripeDispute:
    """A dispute."""
    currency = dispute.currency.upper()
    due_by = dispute.evidence_details.due_by
    return StripeDispute(
        id=dispute.id,
        status=_DISPUTE_STATUS[dispute.status],
        reason=dispute.reason,
        amount=from_stripe(dispute.amount, currency),
        currency=currency,
        withdrawn=from_stripe(_withdrawn(dispute), currency),
        respond_by=None if due_by is None else datetime.fromtimestamp(due_by, UTC),
        created_at=datetime.fromtimestamp(dispute.created, UTC),
    )


def to_endpoint(endpoint: stripe.WebhookEndpoint) -> WebhookEndpoint:
    """A webhook endpoint."""
    return WebhookEndpoint(
        id=endpoint.id,
        url=endpoint.url,
        is_enabled=endpoint.status == "enabled",
        enabled_events=frozenset(endpoint.enabled_events),
        api_version=endpoint.api_version,
        secret=getattr(endpoint, "secret", None),
    )


def _withdrawn(dispute: stripe.Dispute) -> int:
    """What Stripe holds or took because of it, in the dispute's currency.

    The movements are in the currency that the account settles in, at the rate of each day. In another currency than
    the dispute's their sum says nothing, but that more of them took than gave back.
    """
    movements = dispute.balance_transactions
    if any(movement.currency != dispute.currency for movement in movements):
        taken, given_back = (sum(movement.amount * sign > 0 for movement in movements) for sign in (-1, 1))
        return dispute.amount if taken > given_back else 0
    return max(-sum(movement.amount for movement in movements), 0)


def to_error(error: stripe.StripeError) -> Exception:
    """What an error of the SDK means to us (https://docs.stripe.com/error-low-level).

    What Stripe stored under a key, a failure or a refusal, it repeats for as long as it knows the key, whatever has
    happened since (https://docs.stripe.com/api/idempotent_requests). So a stored one says nothing about now: the key is
    spent. Only a declined charge is an answer however often it is given, for each key charges once.
    """
    message = _words(error)
    replayed = (error.headers or {}).get(_REPLAYED) == "true"
    if isinstance(error, stripe.CardError):
        return StripeDeclined(message)
    if isinstance(error, stripe.IdempotencyError):
        return StripeKeySpent(f"Stripe: {message}")
    if isinstance(error, stripe.InvalidRequestError):
        return StripeStoredRefusal(f"Stripe repeats: {message}") if replayed else _refusal(error, message)
    if (error.http_status or 0) >= 500 and replayed:
        return StripeKeySpent(f"Stripe repeats its stored failure: {message}")
    if isinstance(error, stripe.PermissionError):
        return StripePermissionMissing(f"Stripe: {message}")
    # Also 401, which means that our key is wrong: somebody must fix it, and no order fails for it.
    return StripeUnavailable(f"Stripe: {type(error).__name__}: {message}")


def _words(error: stripe.StripeError) -> str:
    """What it says, in one line; of a connection that failed what the connection says, not whom to write to."""
    if isinstance(error, stripe.APIConnectionError) and error.__cause__ is not None:
        return f"{type(error.__cause__).__name__}: {str(error.__cause__) or 'no answer'}"
    return " ".join((error.user_message or type(error).__name__).split())


def _refusal(error: stripe.InvalidRequestError, message: str) -> StripeRefused:
    if error.code == "payment_intent_unexpected_state":
        return StripeUnexpectedState(message)
    if _OUR_TYPES in (error.param or ""):
        return StripeSettingRefused(f"Stripe does not take ORDERSAGA_STRIPE_PAYMENT_METHOD_TYPES: {message}")
    if error.code == "charge_disputed":
        return StripeChargeDisputed(message)
    return StripeRefused(message)
