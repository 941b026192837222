"""How an intent ends otherwise than by paying at once: captured, canceled, or settled late; pure functions."""

from __future__ import annotations

from msgspec.structs import replace

from sandbox.stripe.commands import CancelIntent, CaptureIntent
from sandbox.stripe.errors import invalid, unexpected_state
from sandbox.stripe.events import EventType
from sandbox.stripe.objects import Charge, Intent, IntentStatus
from sandbox.stripe.payment_methods import PaymentMethod
from sandbox.stripe.rules import charging
from sandbox.stripe.rules.changes import Change
from sandbox.stripe.rules.currencies import display
from sandbox.stripe.rules.intents import forbidden, merge_metadata
from sandbox.stripe.rules.tokens import method_of

_CANCELABLE = (
    IntentStatus.REQUIRES_PAYMENT_METHOD,
    IntentStatus.REQUIRES_CAPTURE,
    IntentStatus.REQUIRES_CONFIRMATION,
    IntentStatus.REQUIRES_ACTION,
)


def check_processing(intent: Intent) -> None:
    """Raise ApiError (400 ``payment_intent_unexpected_state``) when no money is on its way."""
    if intent.status is not IntentStatus.PROCESSING:
        raise unexpected_state(intent, f"There is nothing to settle: the status is {intent.status}.")


def check_capturable(intent: Intent) -> None:
    """Raise ApiError (400 ``payment_intent_unexpected_state``) when there is nothing to capture."""
    if intent.status is not IntentStatus.REQUIRES_CAPTURE:
        raise unexpected_state(intent, forbidden("capture", intent, (IntentStatus.REQUIRES_CAPTURE,)))


def capture(
    intent: Intent, charge: Charge, method: PaymentMethod, command: CaptureIntent, *, at: int
) -> Change[Intent]:
    """Take what is authorized, or a part of it.

    Raises:
        ApiError: 400 when the intent's status or the amount does not allow it.
    """
    check_capturable(intent)
    amount = intent.amount_capturable if command.amount is None else command.amount
    if amount > intent.amount_capturable:
        most = display(intent.amount_capturable, intent.currency)
        raise invalid(
            f"The requested capture amount is greater than the authorized amount of {most}.",
            code="amount_too_large",
            param="amount_to_capture",
        )
    changed = replace(intent, metadata=merge_metadata(intent.metadata, command.metadata))
    return charging.capture(changed, charge, method, amount=amount, at=at)


def cancel(
    intent: Intent, method: PaymentMethod | None, charge: Charge | None, command: CancelIntent, *, at: int
) -> Change[Intent]:
    """End an intent that took no money; what is authorized is released.

    One that is processing can be canceled in rare cases only (https://docs.stripe.com/api/payment_intents/cancel):
    here with the test account that is for trying that. What becomes of its charge then is not documented: it stays.

    Raises:
        ApiError: 400 ``payment_intent_unexpected_state`` when it is processing, succeeded or was canceled before.
    """
    delay = None if method is None else method_of(method.details).delay
    is_rare_case = intent.status is IntentStatus.PROCESSING and delay is not None and delay.cancelable
    if intent.status not in _CANCELABLE and not is_rare_case:
        raise unexpected_state(intent, forbidden("cancel", intent, _CANCELABLE))
    canceled = replace(
        intent,
        status=IntentStatus.CANCELED,
        canceled_at=at,
        cancellation_reason=command.reason,
        amount_capturable=0,
        next_action=None,
    )
    change = Change(subject=canceled, events=((EventType.INTENT_CANCELED, canceled),))
    if intent.status is not IntentStatus.REQUIRES_CAPTURE or charge is None:
        return change
    released = charging.release(charge)
    return change.after(Change(subject=intent, also=(released,), events=((EventType.CHARGE_REFUNDED, released),)))
