"""The payment's one intent at Stripe: made once, confirmed once, re-read, cancelled. Money can be taken only here.

Every write at Stripe has a key of its own, derived from the payment and its generation, so that whatever is repeated
takes effect once. An answer that does not come leaves the same key for the caller's next attempt; an answer that says
that the key is spent makes us look first, and then go on to the next generation: at once if what Stripe had stored was
a refusal, at the next attempt if it was a failure.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Final

import structlog

from domain.payments import PaymentStatus
from runtime.clock import Clock
from services.payment.payments import decisions
from services.payment.payments.client_secrets import ClientSecrets
from services.payment.payments.errors import PaymentUnsettled
from services.payment.payments.model import Change, Payment
from services.payment.payments.store import PaymentStore
from services.payment.stripe.client import StripeClient
from services.payment.stripe.errors import (
    StripeBusy,
    StripeDeclined,
    StripeKeySpent,
    StripeRefused,
    StripeStoredRefusal,
    StripeUnavailable,
    StripeUnexpectedState,
)
from services.payment.stripe.model import Intent

log = structlog.stdlib.get_logger(__name__)

# Stripe may forget a key after 24 hours, and would then make a second intent for it.
_KEY_LIFE: Final = timedelta(hours=20)
# How far Stripe's clock may be off ours when intents are looked up by the time of their making, and how long a call of
# ours may have been under way.
_CLOCK_SKEW: Final = timedelta(minutes=10)
_SETTLED: Final = frozenset({PaymentStatus.SUCCEEDED, PaymentStatus.CANCELLED, PaymentStatus.PROCESSING})


class Intents:
    """Intents at Stripe, and what is stored of them.

    Args:
        store: the payments.
        stripe: our account.
        secrets: seals their client secrets.
        clock: says how old the keys are that were used.
    """

    def __init__(self, store: PaymentStore, stripe: StripeClient, secrets: ClientSecrets, clock: Clock) -> None:
        self._store = store
        self._stripe = stripe
        self._secrets = secrets
        self._clock = clock

    async def ensure(self, payment: Payment) -> Payment:
        """Give a payment its intent: the one that an earlier attempt made, or a new one, unconfirmed.

        Raises:
            StripeRefused: Stripe makes no such intent.
            StripeUnavailable: repeat.
        """
        return await self._ask_anew_if_need_be(payment, self._ensure)

    async def reread(self, payment: Payment) -> Payment:
        """The payment as Stripe has it now; one that is decided, or has no intent, as it is stored.

        Raises:
            StripeUnavailable: repeat.
        """
        return await self._store.follow(payment, self._look)

    async def count_failed_charges(self, payment: Payment) -> Payment:
        """Count the failed charges of a payment that succeeded meanwhile: no re-read looks for them any more.

        Raises:
            StripeUnavailable: repeat.
        """
        return await self._store.follow(payment, self._look_for_failed_charges)

    async def confirm(self, payment: Payment, payment_method: str) -> Payment:
        """Try to take the money, once, unless nobody shall pay any more.

        A decline is an answer; a doubtful one is re-read, never given a new intent.

        Raises:
            StripeRefused: Stripe does not take this payment method.
            StripeUnavailable: nothing seems to have happened; repeat.
        """
        return await self._ask_anew_if_need_be(payment, partial(self._confirm, payment_method=payment_method))

    async def end(self, payment: Payment) -> Payment:
        """End the payment unless the money came or is on its way: SUCCEEDED, PROCESSING or CANCELLED comes back.

        A payment whose intent is not known is given it first: it may have been made, and paid.

        Raises:
            PaymentUnsettled: it changed meanwhile; repeat.
            StripeUnavailable: repeat.
        """
        if payment.status.is_final:
            return payment
        if payment.intent_id is None:
            try:
                payment = await self.ensure(payment)
            except StripeRefused:
                return await self._store.change(payment, decisions.cancel_without_intent)
        return await self._ask_anew_if_need_be(payment, self._cancel)

    async def _ask_anew_if_need_be(self, payment: Payment, ask: Callable[[Payment], Awaitable[Payment]]) -> Payment:
        """Ask Stripe, and once more if it only repeats a refusal: by then the payment has its next key."""
        try:
            return await ask(payment)
        except StripeStoredRefusal:
            return await ask(await self._store.get(payment.order_id))

    async def _ensure(self, payment: Payment) -> Payment:
        if payment.generation_at < self._clock() - _KEY_LIFE:
            found = await self._find(payment)
            if found is not None:
                return await self._keep(payment, found)
            payment = await self._go_on_to_next_generation(payment)
        if payment.intent_id is not None:  # somebody else found or made it meanwhile
            return payment
        try:
            intent = await self._create(payment)
        except StripeKeySpent:
            found = await self._find(payment)
            if found is None:
                await self._go_on_to_next_generation(payment)
                raise
            intent = found
        return await self._keep(payment, intent)

    async def _confirm(self, payment: Payment, *, payment_method: str) -> Payment:
        if payment.closing or not payment.is_untried:
            return payment
        try:
            intent = await self._stripe.confirm_intent(
                _intent_of(payment), payment_method=payment_method, key=_key(payment, "confirm")
            )
        except (StripeDeclined, StripeUnexpectedState):
            return await self.reread(payment)
        except StripeBusy:
            raise
        except StripeUnavailable as doubt:
            payment = await self.reread(payment)
            if not payment.is_untried:
                return payment
            if isinstance(doubt, StripeKeySpent):
                await self._go_on_to_next_generation(payment)
            raise
        return await self._follow(payment, intent)

    async def _cancel(self, payment: Payment) -> Payment:
        payment = await self.reread(payment)
        if payment.status in _SETTLED:
            return payment
        try:
            intent = await self._stripe.cancel_intent(_intent_of(payment), key=_key(payment, "cancel"))
        except StripeUnexpectedState:
            payment = await self.reread(payment)
        except StripeKeySpent:
            payment = await self.reread(payment)
            if payment.status not in _SETTLED:
                await self._go_on_to_next_generation(payment)
                raise
        else:
            payment = await self._follow(payment, intent)
        if payment.status not in _SETTLED:
            raise PaymentUnsettled(f"payment {payment.id} changed while it was being cancelled")
        return payment

    async def _look(self, payment: Payment) -> Change | None:
        if payment.intent_id is None or payment.status.is_final:
            return None
        return await self._change(payment, await self._stripe.get_intent(payment.intent_id))

    async def _look_for_failed_charges(self, payment: Payment) -> Change | None:
        if payment.intent_id is None:
            return None
        failed = await self._stripe.list_failed_charges(payment.intent_id)
        return decisions.count_failed(payment, failed, before=payment)

    async def _follow(self, seen: Payment, answer: Intent) -> Payment:
        """Apply the answer to a call that began after `seen` had been read."""
        applied = await self._store.apply(seen, await self._change(seen, answer))
        return applied or await self.reread(await self._store.get(seen.order_id))

    async def _change(self, seen: Payment, intent: Intent) -> Change:
        failed = await self._stripe.list_failed_charges(intent.id) if intent.may_have_failed_charges else []
        return decisions.follow_intent(seen, intent, failed)

    async def _keep(self, payment: Payment, intent: Intent) -> Payment:
        secret = intent.client_secret
        sealed = None if secret is None else self._secrets.seal(secret, intent_id=intent.id)
        kept = await self._store.change(payment, partial(decisions.keep_intent, intent=intent, client_secret=sealed))
        if kept.intent_id != intent.id:
            log.error("intent.orphaned", payment_id=kept.id, intent_id=intent.id, kept=kept.intent_id)
        return kept

    async def _go_on_to_next_generation(self, payment: Payment) -> Payment:
        decide = partial(decisions.next_generation, spent=payment.generation, at=self._clock())
        return await self._store.change(payment, decide)

    async def _create(self, payment: Payment) -> Intent:
        return await self._stripe.create_intent(
            payment_id=payment.id,
            order_id=payment.order_id,
            amount=payment.amount,
            currency=payment.currency,
            key=_key(payment, "create"),
        )

    async def _find(self, payment: Payment) -> Intent | None:
        """The intent that this or an earlier generation's key made: none is made by a key that is past its life."""
        return await self._stripe.find_intent(
            payment_id=payment.id,
            created_from=payment.created_at - _CLOCK_SKEW,
            created_until=payment.generation_at + _KEY_LIFE + _CLOCK_SKEW,
        )


def _key(payment: Payment, call: str) -> str:
    return f"{payment.id}:{call}:{payment.generation}"


def _intent_of(payment: Payment) -> str:
    if payment.intent_id is None:
        raise ValueError(f"payment {payment.id} has no intent yet")
    return payment.intent_id
