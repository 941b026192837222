"""Stripe's objects as its API shows them (https://docs.stripe.com/api): what is stored is what is answered."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from sandbox.stripe.payment_methods import BillingDetails, PaymentMethod, PaymentMethodDetails
from sandbox.stripe.resources import Resource


class IntentStatus(StrEnum):
    """States of a payment intent (https://docs.stripe.com/payments/paymentintents/lifecycle)."""

    REQUIRES_PAYMENT_METHOD = "requires_payment_method"
    REQUIRES_CONFIRMATION = "requires_confirmation"
    REQUIRES_ACTION = "requires_action"
    PROCESSING = "processing"
    REQUIRES_CAPTURE = "requires_capture"
    SUCCEEDED = "succeeded"
    CANCELED = "canceled"


class ChargeStatus(StrEnum):
    """States of one attempt to take the money."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class RefundStatus(StrEnum):
    """States of a refund (https://docs.stripe.com/refunds); most cards' succeed at once."""

    PENDING = "pending"
    REQUIRES_ACTION = "requires_action"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


class RefundFailure(StrEnum):
    """The reason that a refund did not reach the customer (https://docs.stripe.com/api/refunds/object)."""

    LOST_OR_STOLEN_CARD = "lost_or_stolen_card"
    EXPIRED_OR_CANCELED_CARD = "expired_or_canceled_card"
    CHARGE_FOR_PENDING_REFUND_DISPUTED = "charge_for_pending_refund_disputed"
    INSUFFICIENT_FUNDS = "insufficient_funds"
    DECLINED = "declined"
    MERCHANT_REQUEST = "merchant_request"
    UNKNOWN = "unknown"


class CancellationReason(StrEnum):
    """The reason that the caller gave for a cancellation."""

    DUPLICATE = "duplicate"
    FRAUDULENT = "fraudulent"
    REQUESTED_BY_CUSTOMER = "requested_by_customer"
    ABANDONED = "abandoned"


class RefundReason(StrEnum):
    """The reason that the caller gave for a refund."""

    DUPLICATE = "duplicate"
    FRAUDULENT = "fraudulent"
    REQUESTED_BY_CUSTOMER = "requested_by_customer"


class PaymentError(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the last attempt failed; also the body of the 402 that answered it (https://docs.stripe.com/api/errors)."""

    type: str
    code: str
    message: str
    payment_method: PaymentMethod
    decline_code: str | None = None
    advice_code: str | None = None
    charge: str | None = None
    doc_url: str | None = None
    param: str | None = None


class RedirectToUrl(msgspec.Struct, frozen=True, kw_only=True):
    """Where the customer authenticates, and where they are sent afterwards."""

    url: str
    return_url: str


class NextAction(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the customer must do while the intent requires action."""

    type: str
    redirect_to_url: RedirectToUrl | None = None
    use_stripe_sdk: dict[str, str] | None = None


class AutomaticPaymentMethods(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the account's own payment methods are offered, and whether they may redirect."""

    enabled: bool
    allow_redirects: str = "always"


class Intent(Resource, frozen=True, kw_only=True):
    """https://docs.stripe.com/api/payment_intents/object"""

    noun = "payment_intent"
    prefix = "pi"

    amount: int
    currency: str
    client_secret: str
    status: IntentStatus
    payment_method_types: list[str]
    metadata: dict[str, str]
    object: str = "payment_intent"
    livemode: bool = False
    allowed_payment_method_types: list[str] | None = None
    amount_capturable: int = 0
    amount_received: int = 0
    application: None = None
    application_fee_amount: None = None
    automatic_payment_methods: AutomaticPaymentMethods | None = None
    canceled_at: int | None = None
    cancellation_reason: CancellationReason | None = None
    capture_method: str = "automatic_async"
    confirmation_method: str = "automatic"
    customer: None = None
    description: str | None = None
    last_payment_error: PaymentError | None = None
    latest_charge: str | None = None
    next_action: NextAction | None = None
    on_behalf_of: None = None
    payment_method: str | None = None
    payment_method_options: dict[str, dict[str, str | None]] = msgspec.field(default_factory=dict)
    processing: None = None
    receipt_email: str | None = None
    review: None = None
    setup_future_usage: None = None
    shipping: None = None
    source: None = None
    statement_descriptor: None = None
    statement_descriptor_suffix: str | None = None
    transfer_data: None = None
    transfer_group: None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What the card network said about a charge."""

    network_status: str
    reason: str | None
    seller_message: str
    type: str
    risk_level: str = "normal"
    advice_code: str | None = None


class Charge(Resource, frozen=True, kw_only=True):
    """https://docs.stripe.com/api/charges/object"""

    noun = "charge"
    prefix = "ch"

    amount: int
    amount_captured: int
    currency: str
    captured: bool
    paid: bool
    status: ChargeStatus
    payment_intent: str
    payment_method: str
    payment_method_details: PaymentMethodDetails
    outcome: Outcome
    metadata: dict[str, str]
    object: str = "charge"
    livemode: bool = False
    amount_refunded: int = 0
    balance_transaction: str | None = None
    billing_details: BillingDetails = BillingDetails()
    customer: None = None
    description: str | None = None
    disputed: bool = False
    failure_code: str | None = None
    failure_message: str | None = None
    receipt_email: str | None = None
    receipt_url: None = None
    refunded: bool = False

    @property
    def list_key(self) -> str:
        """Charges are listed by their intent."""
        return self.payment_intent


class Refund(Resource, frozen=True, kw_only=True):
    """https://docs.stripe.com/api/refunds/object"""

    noun = "refund"
    prefix = "re"

    amount: int
    currency: str
    charge: str
    payment_intent: str
    status: RefundStatus
    metadata: dict[str, str]
    object: str = "refund"
    balance_transaction: str | None = None
    description: str | None = None
    failure_balance_transaction: str | None = None
    failure_reason: RefundFailure | None = None
    pending_reason: str | None = None
    reason: RefundReason | None = None
    receipt_number: str | None = None

    @property
    def list_key(self) -> str:
        """Refunds are listed by their intent."""
        return self.payment_intent
