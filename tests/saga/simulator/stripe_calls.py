"""The calls to Stripe that a step makes: before and after each is a point of the run, and each can go wrong."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import msgspec

from sandbox.stripe.account import StripeAccount
from sandbox.stripe.api.routes import find_route
from sandbox.stripe.faults import ApiFaults, Faults, Operation
from sandbox.stripe.in_process import InProcessClient

NAMES: Final[Mapping[Operation, str]] = {
    Operation.INTENT_CREATE: "create_intent",
    Operation.INTENT_RETRIEVE: "get_intent",
    Operation.INTENT_LIST: "list_intents",
    Operation.INTENT_CONFIRM: "confirm_intent",
    Operation.INTENT_CANCEL: "cancel_intent",
    Operation.CHARGE_LIST: "list_charges",
    Operation.REFUND_CREATE: "create_refund",
    Operation.REFUND_RETRIEVE: "get_refund",
    Operation.REFUND_LIST: "list_refunds",
    Operation.DISPUTE_LIST: "list_disputes",
    Operation.DISPUTE_RETRIEVE: "get_dispute",
    Operation.EVENT_LIST: "list_events",
}
"""As schedules call them."""
FAULTS: Final[Mapping[str, ApiFaults]] = {
    "429": ApiFaults(error_429=1),
    "500": ApiFaults(error_500_before=1),
    "500-after": ApiFaults(error_500_after=1),
    "lose": ApiFaults(lose_response=1),
}
"""By kind: too many calls; an error before, or after, Stripe did what it was asked; the answer is lost."""
LESS_IS_LEFT: Final = frozenset({"charge_already_refunded", "400 amount"})
"""How Stripe refuses a refund for which too little is left."""
WRITES: Final = frozenset({"create_intent", "confirm_intent", "cancel_intent", "create_refund"})


class StepUnderWay(Protocol):
    """The step that calls Stripe."""

    async def before_stripe_call(self, call: str) -> str | None:
        """Let happen what happens before the call; how it goes wrong, if it does."""

    async def after_stripe_call(self, call: str, outcome: str) -> None:
        """Let happen what happens after the call; the outcome is Stripe's answer, or its error, in a word."""


STEP_UNDER_WAY: ContextVar[StepUnderWay | None] = ContextVar("step_under_way", default=None)


def faults_of(call: str) -> list[str]:
    """Every way in which a call can go wrong; a look-up that fails has failed, however it did."""
    return list(FAULTS) if call in WRITES else ["500"]


class StripeCalls(InProcessClient):
    """The SDK's transport of a process of the payment service.

    Args:
        account: what answers.
        disturbed: whether it is the one that carries out the steps.

    Attributes:
        refused_refunds: how often Stripe refused one because less was left: only its own rule kept the money from
            moving twice.
    """

    def __init__(self, account: StripeAccount, *, disturbed: bool = True) -> None:
        super().__init__(account)
        self.refused_refunds = 0
        self._disturbed = disturbed
        self._faults = account.faults

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        found = find_route(method.upper(), urlsplit(url).path)
        assert found is not None
        name = NAMES[found[0].operation]
        step = STEP_UNDER_WAY.get() if self._disturbed else None
        if step is None:
            body, status, answered = await super().request_async(method, url, headers, post_data)
            self._count(name, _in_a_word(status, body))
            return body, status, answered
        kind = await step.before_stripe_call(name)
        if kind is not None:
            self._faults.set(Faults(api=FAULTS[kind]))
        try:
            body, status, answered = await super().request_async(method, url, headers, post_data)
        except Exception:
            await step.after_stripe_call(name, "no answer")
            raise
        finally:
            self._faults.clear()
        outcome = _in_a_word(status, body)
        self._count(name, outcome)
        await step.after_stripe_call(name, outcome)
        return body, status, answered

    def _count(self, call: str, outcome: str) -> None:
        self.refused_refunds += call == "create_refund" and outcome in LESS_IS_LEFT


def _in_a_word(status: int, body: bytes) -> str:
    answer = msgspec.json.decode(body)
    if status != 200:
        error = answer["error"]
        return str(error.get("code") or f"{status} {error.get('param', '')}".strip())
    return str(len(answer["data"]) if answer["object"] == "list" else answer["status"])
