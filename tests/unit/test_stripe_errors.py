"""What an error of Stripe's SDK means: an answer, trouble, or a key that is spent."""

from __future__ import annotations

import pytest
import stripe

from services.payment.stripe.errors import (
    StripeChargeDisputed,
    StripeDeclined,
    StripeKeySpent,
    StripePermissionMissing,
    StripeRefused,
    StripeStoredRefusal,
    StripeUnavailable,
    StripeUnexpectedState,
)
from services.payment.stripe.messages import to_error

REPLAYED = {"idempotent-replayed": "true"}
REFUSALS = {
    "payment_intent_unexpected_state": StripeUnexpectedState,
    "charge_disputed": StripeChargeDisputed,
    "resource_missing": StripeRefused,
    "charge_already_refunded": StripeRefused,
}


def refusal(code: str, headers: dict[str, str]) -> stripe.InvalidRequestError:
    return stripe.InvalidRequestError("No.", None, code=code, http_status=400, headers=headers)  # type: ignore[no-untyped-call]  # the SDK leaves it untyped


@pytest.mark.parametrize(("code", "kind"), REFUSALS.items())
def test_a_refusal_is_an_answer_and_its_repetition_a_spent_key(code: str, kind: type[StripeRefused]) -> None:
    assert type(to_error(refusal(code, {}))) is kind
    assert type(to_error(refusal(code, REPLAYED))) is StripeStoredRefusal


@pytest.mark.parametrize("headers", [{}, REPLAYED])
def test_a_declined_charge_is_an_answer_however_often_it_is_given(headers: dict[str, str]) -> None:
    declined = stripe.CardError("Declined.", None, "card_declined", http_status=402, headers=headers)  # type: ignore[no-untyped-call]  # as above

    assert type(to_error(declined)) is StripeDeclined


def test_a_failure_is_trouble_and_a_stored_one_a_spent_key() -> None:
    for status in (500, 503):
        assert type(to_error(stripe.APIError("Oh.", http_status=status))) is StripeUnavailable
        stored = stripe.APIError("Oh.", http_status=status, headers=REPLAYED)
        assert type(to_error(stored)) is StripeKeySpent


@pytest.mark.parametrize(
    ("error", "status"),
    [(stripe.RateLimitError, 429), (stripe.AuthenticationError, 401)],
)
def test_what_no_order_can_help_is_trouble(error: type[stripe.StripeError], status: int) -> None:
    assert type(to_error(error("No.", http_status=status))) is StripeUnavailable


def test_a_permission_that_our_key_lacks_is_trouble_of_its_own() -> None:
    assert type(to_error(stripe.PermissionError("No.", http_status=403))) is StripePermissionMissing


def test_a_key_that_stands_for_another_request_is_spent() -> None:
    assert type(to_error(stripe.IdempotencyError("Other parameters.", http_status=400))) is StripeKeySpent
