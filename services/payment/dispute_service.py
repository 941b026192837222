"""Use cases of disputes, which their case calls. Each may be repeated at any time."""

from __future__ import annotations

from services.payment.dispute_ledger import DisputeLedger
from services.payment.disputes import Disputes
from services.payment.follow_ups import FollowUps
from services.payment.model import Payment


class DisputeService:
    """Disputes of payments."""

    def __init__(self, ledger: DisputeLedger, disputes: Disputes, follow_ups: FollowUps) -> None:
        self._ledger = ledger
        self._disputes = disputes
        self._follow_ups = follow_ups

    async def check(self, dispute_id: str) -> Payment:
        """The payment of a dispute, with the dispute as Stripe has it now; refunds that waited for it are woken.

        Raises:
            DisputeNotFound: there is no such dispute.
            StripeUnavailable, SignalUndelivered: repeat.
        """
        payment = await self._disputes.catch_up(await self._ledger.get(dispute_id))
        # Each time: an earlier attempt may have written that it is decided, and died before it woke anybody.
        if payment.open_dispute is None:
            await self._follow_ups.wake(payment, dispute_changed=True)
        return payment

    async def close(self, dispute_id: str, *, version: int) -> bool:
        """Note that nothing more follows from the dispute; false when it has another version by now."""
        return await self._ledger.close(dispute_id, version=version)
