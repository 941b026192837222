"""What is written down about disputes; see `services.payment.changes` for how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from runtime.database import Database
from services.payment.changes import Change, News, change_payment, get_payment, write
from services.payment.errors import DisputeNotFound
from services.payment.model import Dispute, Payment
from services.payment.repository import PaymentRepository
from services.payment.stripe_port import FoundDispute


class DisputeLedger:
    """Disputes as they are stored. A change of one is a change of its payment, and made from the payment's version."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, dispute_id: str) -> Payment:
        """The payment that a dispute is about.

        Raises:
            DisputeNotFound: there is no such dispute.
        """
        async with self._database.autocommit() as connection:
            return await _get(PaymentRepository(connection), dispute_id)

    async def apply(self, seen: Payment, found: Sequence[FoundDispute]) -> Payment | None:
        """Write down what a list of Stripe's tells that was read after `seen`.

        Returns:
            The payment as it is now; None when another change came in between: list again.
        """
        change = _settle(seen, found)
        async with self._database.autocommit() as connection:
            repository = PaymentRepository(connection)
            if change is not None:
                return await write(repository, seen, change)
            stored = await get_payment(repository, seen.order_id)
            return stored if stored.version == seen.version else None

    async def close(self, dispute_id: str, *, version: int) -> bool:
        """Note that nothing more follows from the dispute; false when it has another version by now."""

        def close(payment: Payment) -> Change | None:
            dispute = payment.get_dispute(dispute_id)
            if dispute.version != version or not dispute.saga_open:
                return None
            return Change(payment=payment.with_dispute(replace(dispute, saga_open=False)))

        async with self._database.autocommit() as connection:
            repository = PaymentRepository(connection)
            closed = await change_payment(repository, await _get(repository, dispute_id), close)
        return closed.get_dispute(dispute_id).version == version


async def _get(repository: PaymentRepository, dispute_id: str) -> Payment:
    payment = await repository.find_by_dispute(dispute_id)
    if payment is None:
        raise DisputeNotFound(dispute_id)
    return payment


def _settle(payment: Payment, found: Sequence[FoundDispute]) -> Change | None:
    """What a payment becomes by what Stripe says of its disputes."""
    known = {dispute.id: dispute for dispute in payment.disputes}
    settled, news = payment, list[News]()
    for one in found:
        dispute = Dispute(
            id=one.id,
            status=one.status,
            reason=one.reason,
            amount=one.amount,
            currency=one.currency,
            withdrawn=one.withdrawn,
            respond_by=one.respond_by,
            created_at=one.created_at,
        )
        before = known.get(one.id)
        if before is not None:
            if replace(dispute, version=before.version, saga_open=before.saga_open) == before:
                continue
            dispute = replace(dispute, version=before.version + 1)
        settled = settled.with_dispute(dispute)
        news.append(News(type="payment.disputed", dispute=dispute))
    return Change(payment=settled, news=news) if news else None
