"""Use cases of disputes, which their case calls. Each may be repeated at any time."""

from __future__ import annotations

from functools import partial

from runtime.tracing import note_order
from services.payment.disputes.decisions import close_dispute, follow_disputes
from services.payment.disputes.errors import DisputeNotFound
from services.payment.order_turns import OrderTurns
from services.payment.payments.model import Change, Payment
from services.payment.payments.store import PaymentStore
from services.payment.stripe.client import StripeClient


class DisputeService:
    """Disputes of payments."""

    def __init__(self, store: PaymentStore, stripe: StripeClient, turns: OrderTurns) -> None:
        self._store = store
        self._stripe = stripe
        self._turns = turns

    async def catch_up(self, payment: Payment, *, asking: str | None = None) -> Payment:
        """Store what Stripe says of every dispute of the payment, in a turn of its order.

        Args:
            payment: as it was read.
            asking: the dispute whose case asks, and so knows afterwards.

        Raises:
            StripeUnavailable: repeat.
        """
        return await self._store.follow(payment, partial(self._look, asking=asking))

    async def check(self, dispute_id: str) -> Payment:
        """The payment of a dispute, with the dispute as Stripe has it now.

        Raises:
            DisputeNotFound: there is no such dispute.
            StripeUnavailable: repeat.
        """
        payment = await self._get(dispute_id)
        async with self._turns.turn(payment.order_id):
            return await self.catch_up(payment, asking=dispute_id)

    async def close(self, dispute_id: str, *, version: int) -> bool:
        """Note that nothing more follows from the dispute; false when it has another version by now.

        Raises:
            DisputeNotFound: there is no such dispute.
        """
        decide = partial(close_dispute, dispute_id=dispute_id, version=version)
        closed = await self._store.change(await self._get(dispute_id), decide)
        return closed.get_dispute(dispute_id).version == version

    async def _look(self, payment: Payment, *, asking: str | None) -> Change | None:
        if payment.intent_id is None:
            return None
        return follow_disputes(payment, await self._stripe.list_disputes(payment.intent_id), asking=asking)

    async def _get(self, dispute_id: str) -> Payment:
        payment = await self._store.find_by_dispute(dispute_id)
        if payment is None:
            raise DisputeNotFound(dispute_id)
        note_order(payment)
        return payment
