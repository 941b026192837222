"""Payment methods as Stripe's API shows them (https://docs.stripe.com/api/payment_methods/object)."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from sandbox.stripe.resources import Resource, new_id


class CardDetails(msgspec.Struct, frozen=True, kw_only=True):
    """A card; its last four digits distinguish the test cards."""

    brand: str
    last4: str
    exp_month: int = 12
    exp_year: int = 2034
    country: str = "US"
    funding: str = "credit"


class UsBankAccountDetails(msgspec.Struct, frozen=True, kw_only=True):
    """A bank account in the United States."""

    last4: str
    routing_number: str
    account_holder_type: str = "individual"
    account_type: str = "checking"
    bank_name: str = "STRIPE TEST BANK"


class SepaDebitDetails(msgspec.Struct, frozen=True, kw_only=True):
    """A bank account that SEPA Direct Debit reaches."""

    last4: str
    bank_code: str
    country: str


MethodDetails = CardDetails | UsBankAccountDetails | SepaDebitDetails


class PaymentMethodType(StrEnum):
    """Types that an intent may offer; test payment methods are of three of them."""

    CARD = "card"
    LINK = "link"
    SEPA_DEBIT = "sepa_debit"
    US_BANK_ACCOUNT = "us_bank_account"


class _Typed:
    """Has its details under the name of its type, and only there."""

    __slots__ = ()

    type: PaymentMethodType

    @property
    def details(self) -> MethodDetails:
        """The details, whatever their type."""
        found: MethodDetails = getattr(self, self.type)
        return found


class BillingDetails(msgspec.Struct, frozen=True, kw_only=True):
    """Who pays; test tokens say nothing about it."""

    address: None = None
    email: str | None = None
    name: str | None = None
    phone: str | None = None


class PaymentMethod(_Typed, Resource, frozen=True, kw_only=True):
    """https://docs.stripe.com/api/payment_methods/object"""

    noun = "PaymentMethod"
    prefix = "pm"

    object: str = "payment_method"
    livemode: bool = False
    type: PaymentMethodType = PaymentMethodType.CARD
    card: CardDetails | msgspec.UnsetType = msgspec.UNSET
    us_bank_account: UsBankAccountDetails | msgspec.UnsetType = msgspec.UNSET
    sepa_debit: SepaDebitDetails | msgspec.UnsetType = msgspec.UNSET
    billing_details: BillingDetails = BillingDetails()
    customer: str | None = None
    metadata: dict[str, str] = msgspec.field(default_factory=dict)


class PaymentMethodDetails(_Typed, msgspec.Struct, frozen=True, kw_only=True):
    """The payment method as it was when it was charged."""

    type: PaymentMethodType = PaymentMethodType.CARD
    card: CardDetails | msgspec.UnsetType = msgspec.UNSET
    us_bank_account: UsBankAccountDetails | msgspec.UnsetType = msgspec.UNSET
    sepa_debit: SepaDebitDetails | msgspec.UnsetType = msgspec.UNSET


def new_payment_method(details: MethodDetails, *, at: int) -> PaymentMethod:
    """What Stripe makes of a test token at each use: a payment method of its own."""
    charged = charged_details(details)
    return PaymentMethod(
        id=new_id(PaymentMethod.prefix),
        created=at,
        type=charged.type,
        card=charged.card,
        us_bank_account=charged.us_bank_account,
        sepa_debit=charged.sepa_debit,
    )


def charged_details(details: MethodDetails) -> PaymentMethodDetails:
    """The details of a payment method as its charges show them."""
    match details:
        case CardDetails():
            return PaymentMethodDetails(type=PaymentMethodType.CARD, card=details)
        case UsBankAccountDetails():
            return PaymentMethodDetails(type=PaymentMethodType.US_BANK_ACCOUNT, us_bank_account=details)
        case SepaDebitDetails():
            return PaymentMethodDetails(type=PaymentMethodType.SEPA_DEBIT, sepa_debit=details)
