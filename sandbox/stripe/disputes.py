"""Stripe's disputes as its API shows them (https://docs.stripe.com/api/disputes/object)."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from sandbox.stripe.resources import Resource


class DisputeStatus(StrEnum):
    """States of a dispute; those that begin with ``warning`` are an inquiry's, which takes no money."""

    WARNING_NEEDS_RESPONSE = "warning_needs_response"
    WARNING_UNDER_REVIEW = "warning_under_review"
    WARNING_CLOSED = "warning_closed"
    NEEDS_RESPONSE = "needs_response"
    UNDER_REVIEW = "under_review"
    WON = "won"
    LOST = "lost"


class DisputeReason(StrEnum):
    """What the cardholder said to their bank (https://docs.stripe.com/disputes/categories)."""

    CREDIT_NOT_PROCESSED = "credit_not_processed"
    DUPLICATE = "duplicate"
    FRAUDULENT = "fraudulent"
    GENERAL = "general"
    PRODUCT_NOT_RECEIVED = "product_not_received"
    PRODUCT_UNACCEPTABLE = "product_unacceptable"
    SUBSCRIPTION_CANCELED = "subscription_canceled"
    UNRECOGNIZED = "unrecognized"


class EvidenceDetails(msgspec.Struct, frozen=True, kw_only=True):
    """Until when the shop may answer, unix seconds; it never does here."""

    due_by: int
    enhanced_eligibility: dict[str, str] = msgspec.field(default_factory=dict)
    has_evidence: bool = False
    past_due: bool = False
    submission_count: int = 0
    submission_method: str = "not_submitted"


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What the shop says in its defence: nothing."""

    enhanced_evidence: dict[str, str] = msgspec.field(default_factory=dict)


class BalanceTransaction(msgspec.Struct, frozen=True, kw_only=True):
    """Money that a dispute took from the account, below zero, or gave back; fees are left out."""

    id: str
    amount: int
    net: int
    currency: str
    created: int
    source: str
    available_on: int = 0
    balance_type: str = "payments"
    fee: int = 0
    fee_details: list[str] = msgspec.field(default_factory=list)
    object: str = "balance_transaction"
    reporting_category: str = "dispute"
    status: str = "available"
    type: str = "adjustment"


class Dispute(Resource, frozen=True, kw_only=True):
    """https://docs.stripe.com/api/disputes/object"""

    noun = "dispute"
    prefix = "du"

    amount: int
    currency: str
    charge: str
    payment_intent: str
    reason: DisputeReason
    status: DisputeStatus
    is_charge_refundable: bool
    evidence_details: EvidenceDetails
    object: str = "dispute"
    livemode: bool = False
    balance_transactions: list[BalanceTransaction] = msgspec.field(default_factory=list)
    enhanced_eligibility_types: list[str] = msgspec.field(default_factory=list)
    evidence: Evidence = Evidence()
    metadata: dict[str, str] = msgspec.field(default_factory=dict)

    @property
    def list_key(self) -> str:
        """Disputes are listed by their intent."""
        return self.payment_intent
