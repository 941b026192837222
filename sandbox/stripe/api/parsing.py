"""Reads what a call asks for from its parameters, checked in form; nothing is executed here.

Each function raises `ApiError` (400) for parameters that do not fit.
"""

from __future__ import annotations

from sandbox.stripe.api.params import Params, required
from sandbox.stripe.commands import (
    AcceptanceType,
    AllowRedirects,
    CancelIntent,
    CaptureIntent,
    CaptureMethod,
    ConfirmationMethod,
    ConfirmIntent,
    CreateIntent,
    CreateRefund,
    ListPage,
    Retrieve,
    UpdateIntent,
)
from sandbox.stripe.errors import invalid
from sandbox.stripe.objects import AutomaticPaymentMethods, CancellationReason, RefundReason
from sandbox.stripe.payment_methods import PaymentMethodType

# From this version on the types go by another name.
_WITHOUT_PAYMENT_METHOD_TYPES = "2026-09-30"


def create_intent(params: Params) -> CreateIntent:
    """Read the parameters of a new intent."""
    amount, currency = params.integer("amount", least=1), params.text("currency")
    if amount is None:
        raise required("amount")
    if currency is None:
        raise required("currency")
    confirms = params.boolean("confirm") or False
    confirm = _confirmation(params)
    if confirm.return_url is not None and not confirms:
        raise invalid("`return_url` can only be given together with `confirm` set to true", param="return_url")
    params.choice("confirmation_method", ConfirmationMethod)
    allowed, types = _payment_method_types(params)
    return CreateIntent(
        amount=amount,
        currency=currency,
        payment_method=confirm.payment_method,
        allowed_payment_method_types=allowed,
        payment_method_types=types,
        automatic=_automatic(params, explicit=bool(types)),
        capture_method=params.choice("capture_method", CaptureMethod) or CaptureMethod.AUTOMATIC_ASYNC,
        metadata=given(params.metadata()),
        description=params.text("description", limit=1_000),
        receipt_email=params.text("receipt_email", limit=800),
        statement_descriptor_suffix=params.text("statement_descriptor_suffix", limit=22),
        confirm=confirm if confirms else None,
    )


def update_intent(params: Params) -> UpdateIntent:
    """Read the parameters of a change of an intent."""
    allowed, types = _payment_method_types(params)
    return UpdateIntent(
        amount=params.integer("amount", least=1),
        currency=params.text("currency"),
        payment_method=params.text("payment_method"),
        allowed_payment_method_types=allowed,
        payment_method_types=types,
        metadata=params.metadata(),
        description=params.text("description", limit=1_000),
        receipt_email=params.text("receipt_email", limit=800),
        statement_descriptor_suffix=params.text("statement_descriptor_suffix", limit=22),
    )


def capture_intent(params: Params) -> CaptureIntent:
    """Read the parameters of a capture."""
    return CaptureIntent(amount=params.integer("amount_to_capture", least=1), metadata=params.metadata())


def confirm_intent(params: Params) -> ConfirmIntent:
    """Read the parameters of a confirmation."""
    return _confirmation(params, client_secret=params.text("client_secret"))


def cancel_intent(params: Params) -> CancelIntent:
    """Read the parameters of a cancellation."""
    return CancelIntent(reason=params.choice("cancellation_reason", CancellationReason))


def create_refund(params: Params) -> CreateRefund:
    """Read the parameters of a new refund."""
    intent, charge = params.text("payment_intent"), params.text("charge")
    if intent is None and charge is None:
        raise invalid("One of the following params should be provided for this request: payment_intent or charge.")
    return CreateRefund(
        payment_intent=intent,
        charge=charge,
        amount=params.integer("amount", least=1),
        reason=params.choice("reason", RefundReason),
        metadata=given(params.metadata()),
    )


def cancel_refund(params: Params) -> None:
    """A cancellation of a refund has no parameters."""


def retrieve(params: Params) -> Retrieve:
    """Read the parameters of a look-up that has none."""
    return Retrieve()


def retrieve_intent(params: Params) -> Retrieve:
    """Read the parameters of a look-up of an intent."""
    return Retrieve(client_secret=params.text("client_secret"))


def list_unfiltered(params: Params) -> ListPage:
    """Read the parameters of a list that has no filter of its own."""
    return _page(params)


def list_charges(params: Params) -> ListPage:
    """Read the parameters of a list of charges."""
    intent = params.text("payment_intent")
    return _page(params, list_keys=(intent,) if intent else ())


def list_of_charge(params: Params) -> ListPage:
    """Read the parameters of a list of refunds or disputes."""
    intent, charge = params.text("payment_intent"), params.text("charge")
    return _page(params, list_keys=(intent,) if intent else (), charge=charge)


def list_events(params: Params) -> ListPage:
    """Read the parameters of a list of events."""
    one, several = params.text("type"), params.array("types")
    if one is not None and several:
        raise invalid("You may only specify one of these parameters: type, types.")
    return _page(params, list_keys=(one,) if one else tuple(several))


def given(metadata: dict[str, str]) -> dict[str, str]:
    """Metadata of a new object: an empty value leaves its key out."""
    return {key: value for key, value in metadata.items() if value}


def _confirmation(params: Params, client_secret: str | None = None) -> ConfirmIntent:
    return ConfirmIntent(
        payment_method=params.text("payment_method"),
        return_url=params.text("return_url"),
        use_stripe_sdk=params.boolean("use_stripe_sdk") or False,
        # In the browser Stripe.js has the customer accept it (https://docs.stripe.com/payments/sepa-debit).
        has_mandate=_has_mandate(params) or client_secret is not None,
        client_secret=client_secret,
    )


def _has_mandate(params: Params) -> bool:
    """Whether the customer accepted to be debited, as `mandate_data` says (https://docs.stripe.com/api/mandates)."""
    acceptance = "mandate_data[customer_acceptance]"
    kind = params.choice(f"{acceptance}[type]", AcceptanceType)
    params.integer(f"{acceptance}[accepted_at]")
    params.text(f"{acceptance}[offline]")
    from_client = params.boolean(f"{acceptance}[online][infer_from_client]") or False
    address, agent = (params.text(f"{acceptance}[online][{name}]") for name in ("ip_address", "user_agent"))
    if kind is AcceptanceType.ONLINE and not from_client and (address is None or agent is None):
        raise required(f"{acceptance}[online]")
    return kind is not None


def _payment_method_types(params: Params) -> tuple[list[str] | None, list[str]]:
    """The types as given under their present name, and the types however given.

    https://docs.stripe.com/changelog/endive/2026-09-30/removes-the-payment-method-types-parameter-from-payment-intents-and-setup-intents
    """
    former, allowed = params.array("payment_method_types"), params.array("allowed_payment_method_types")
    if former and params.api_version >= _WITHOUT_PAYMENT_METHOD_TYPES:
        raise invalid(
            "The `payment_method_types` parameter is no longer supported in this API version. Use "
            "`allowed_payment_method_types` instead.",
            code="payment_method_types_no_longer_supported",
            param="payment_method_types",
        )
    for name in (*former, *allowed):
        if name not in set(PaymentMethodType):
            raise invalid(
                f"The payment method type provided: {name} is invalid.",
                param="allowed_payment_method_types" if allowed else "payment_method_types",
            )
    return allowed or None, allowed or former


def _automatic(params: Params, *, explicit: bool) -> AutomaticPaymentMethods | None:
    enabled = params.boolean("automatic_payment_methods[enabled]")
    redirects = params.choice("automatic_payment_methods[allow_redirects]", AllowRedirects)
    if explicit and enabled:
        raise invalid(
            "You may only specify one of these parameters: automatic_payment_methods, allowed_payment_method_types."
        )
    # Without any word on payment methods Stripe offers those of the account's dashboard.
    if explicit or enabled is False:
        return None
    return AutomaticPaymentMethods(enabled=True, allow_redirects=redirects or AllowRedirects.ALWAYS)


def _page(params: Params, *, list_keys: tuple[str, ...] = (), charge: str | None = None) -> ListPage:
    after, before = params.text("starting_after"), params.text("ending_before")
    if after is not None and before is not None:
        raise invalid("You may only specify one of these parameters: starting_after, ending_before.")
    exact, gt, lt = (params.integer(name) for name in ("created", "created[gt]", "created[lt]"))
    gte, lte = params.integer("created[gte]"), params.integer("created[lte]")
    lower = [bound for bound in (exact, gte, None if gt is None else gt + 1) if bound is not None]
    upper = [bound for bound in (exact, lte, None if lt is None else lt - 1) if bound is not None]
    return ListPage(
        limit=params.integer("limit", least=1, most=100) or 10,
        starting_after=after,
        ending_before=before,
        created_from=max(lower, default=None),
        created_to=min(upper, default=None),
        list_keys=list_keys,
        charge=charge,
    )
