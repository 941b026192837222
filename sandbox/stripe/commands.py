"""What each call asks for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sandbox.stripe.objects import AutomaticPaymentMethods, CancellationReason, RefundReason


class CaptureMethod(StrEnum):
    """When the money is taken: both automatic ones mean at once."""

    AUTOMATIC = "automatic"
    AUTOMATIC_ASYNC = "automatic_async"
    MANUAL = "manual"


class ConfirmationMethod(StrEnum):
    """Who may confirm: the customer's browser too."""

    AUTOMATIC = "automatic"


class AllowRedirects(StrEnum):
    """Whether a payment method may send the customer to another page."""

    ALWAYS = "always"
    NEVER = "never"


class AcceptanceType(StrEnum):
    """How the customer accepted a mandate."""

    ONLINE = "online"
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmIntent:
    """https://docs.stripe.com/api/payment_intents/confirm"""

    payment_method: str | None
    return_url: str | None
    use_stripe_sdk: bool
    has_mandate: bool
    client_secret: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateIntent:
    """https://docs.stripe.com/api/payment_intents/create"""

    amount: int
    currency: str
    payment_method: str | None
    allowed_payment_method_types: list[str] | None
    payment_method_types: list[str]
    automatic: AutomaticPaymentMethods | None
    capture_method: CaptureMethod
    metadata: dict[str, str]
    description: str | None
    receipt_email: str | None
    statement_descriptor_suffix: str | None
    confirm: ConfirmIntent | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateIntent:
    """https://docs.stripe.com/api/payment_intents/update; what is None stays as it is.

    Metadata are merged into those that there are, and a key with an empty value is removed.
    """

    amount: int | None
    currency: str | None
    payment_method: str | None
    allowed_payment_method_types: list[str] | None
    payment_method_types: list[str]
    metadata: dict[str, str]
    description: str | None
    receipt_email: str | None
    statement_descriptor_suffix: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureIntent:
    """https://docs.stripe.com/api/payment_intents/capture; all that can be captured without an amount."""

    amount: int | None
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelIntent:
    """https://docs.stripe.com/api/payment_intents/cancel"""

    reason: CancellationReason | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateRefund:
    """https://docs.stripe.com/api/refunds/create"""

    payment_intent: str | None
    charge: str | None
    amount: int | None
    reason: RefundReason | None
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateEndpoint:
    """https://docs.stripe.com/api/webhook_endpoints/create"""

    url: str
    enabled_events: list[str]
    api_version: str | None
    description: str | None
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateEndpoint:
    """https://docs.stripe.com/api/webhook_endpoints/update; what is None or empty stays as it is.

    An empty description removes the one that there is; metadata are those of `UpdateIntent`.
    """

    url: str | None
    enabled_events: list[str]
    disabled: bool | None
    description: str | None
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieve:
    """One object by its id."""

    client_secret: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPage:
    """One page of a list, newest first (https://docs.stripe.com/api/pagination)."""

    limit: int
    starting_after: str | None
    ending_before: str | None
    created_from: int | None
    created_to: int | None
    list_keys: tuple[str, ...] = ()
    charge: str | None = None
