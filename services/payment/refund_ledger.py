"""What is written down about refunds; see `services.payment.changes` for how."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from domain.ids import new_id
from domain.payments import PaymentStatus
from domain.refunds import RefundOrigin, RefundStatus
from runtime.database import Database
from runtime.refusal import InvalidArgument
from services.payment.changes import Change, News, change_payment, get_payment, write
from services.payment.errors import (
    IdempotencyKeyReused,
    PaymentDisputed,
    PaymentNotRefundable,
    PaymentRejected,
    RefundExceedsPayment,
    RefundNotFound,
    RestockExceedsSale,
)
from services.payment.model import KnownKey, NewRefund, Payment, Refund
from services.payment.repository import PaymentRepository
from services.payment.stripe_amounts import to_stripe
from services.payment.stripe_port import MadeRefund

REFUND_ROUTE: Final = "POST /v1/orders/{id}/refunds"

_DEALT_WITH: Final = frozenset({RefundStatus.RESOLVED, RefundStatus.REPLACED})
_NEWS: Final = {
    RefundStatus.SUCCEEDED: "payment.refunded",
    RefundStatus.FAILED: "payment.refund_failed",
    RefundStatus.CANCELED: "payment.refund_failed",
}


class RefundLedger:
    """Refunds as they are stored. A change of one is a change of its payment, and made from the payment's version."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, refund_id: str) -> Payment:
        """The payment that a refund is of.

        Raises:
            RefundNotFound: there is no such refund.
        """
        async with self._database.autocommit() as connection:
            return await _get(PaymentRepository(connection), refund_id)

    async def request(self, new: NewRefund, *, key: str) -> tuple[Payment, str, KnownKey | None]:
        """Reserve what an admin wants to give back, once per admin and key.

        Returns:
            The payment, the refund's id, and the key if an earlier request took it.

        Raises:
            PaymentNotFound: the order has no payment.
            PaymentNotRefundable: nothing came in, or it goes back already.
            PaymentDisputed: the customer's bank decides about the money.
            RefundExceedsPayment: less than that is left.
            RestockExceedsSale: fewer pieces can come back.
            InvalidArgument: Stripe cannot express the amount.
            IdempotencyKeyReused: the key stands for another request.
        """
        refund_id, request_hash = new_id(), new.fingerprint
        async with self._database.transaction() as connection:
            repository = PaymentRepository(connection)
            claimed = await repository.claim_key(
                user_id=new.requested_by, route=REFUND_ROUTE, key=key, request_hash=request_hash, refund_id=refund_id
            )
            if not claimed:
                known = await repository.get_key(user_id=new.requested_by, route=REFUND_ROUTE, key=key)
                if known.request_hash != request_hash:
                    raise IdempotencyKeyReused(key)
                return await _get(repository, known.refund_id), known.refund_id, known
            # What a refusal raises takes the key back, too. Nobody writes the payment until this is committed.
            await repository.lock_payment(new.order_id)
            stored = await get_payment(repository, new.order_id)
            refund = _requested(stored, new, refund_id=refund_id)
            written = await write(repository, stored, Change(payment=stored.with_refund(refund)))
            if written is None:
                raise AssertionError(f"payment {stored.id} changed under its lock")
            return written, refund_id, None

    async def set_accepted_only(self, *, user_id: str, key: str) -> None:
        """Note that the key's first answer came before its refund succeeded or failed."""
        async with self._database.autocommit() as connection:
            await PaymentRepository(connection).set_accepted_only(user_id=user_id, route=REFUND_ROUTE, key=key)

    async def apply(self, seen: Payment, made: Sequence[MadeRefund]) -> Payment | None:
        """Write down what a list of Stripe's tells that was read after `seen`; refunds that are not ours are adopted.

        Returns:
            The payment as it is now; None when another change came in between: list again.
        """
        change = _settle(seen, made)
        async with self._database.autocommit() as connection:
            repository = PaymentRepository(connection)
            if change is not None:
                return await write(repository, seen, change)
            stored = await get_payment(repository, seen.order_id)
            return stored if stored.version == seen.version else None

    async def fail(self, refund_id: str, *, reason: str) -> Payment:
        """Note that Stripe does not make the refund.

        One that is owed, and for which less is left because other refunds gave the money back, is replaced by what is
        still owed, if anything.
        """

        def fail(payment: Payment) -> Change | None:
            refund = payment.get_refund(refund_id)
            if refund.status is not RefundStatus.REQUESTED:
                return None
            others = sum(other.amount for other in payment.refunds if other.status.is_live and other.id != refund_id)
            if refund.origin is RefundOrigin.VOID and others and refund.amount > payment.amount_received - others:
                return _with(payment, refund.change(status=RefundStatus.REPLACED, failure_reason=reason))
            failed = refund.change(status=RefundStatus.FAILED, failure_reason=reason)
            return _with(payment, failed, News(type="payment.refund_failed", refund=failed))

        return await self._change(refund_id, fail)

    async def next_generation(self, refund: Refund) -> None:
        """Go on to the refund's next idempotency key, unless somebody did so since it was read."""

        def move_on(payment: Payment) -> Change | None:
            stored = payment.get_refund(refund.id)
            if stored.generation != refund.generation:
                return None
            return _with(payment, replace(stored, generation=stored.generation + 1))

        await self._change(refund.id, move_on)

    async def replace_failed(self, refund_id: str) -> Payment:
        """Make another refund in the place of a failed one; of any other nothing changes.

        Raises:
            RefundNotFound: there is no such refund.
            RefundExceedsPayment: its money is given back otherwise.
            PaymentDisputed: the customer's bank decides about the money.
        """

        def make_another(payment: Payment) -> Change | None:
            failed = payment.get_refund(refund_id)
            if not failed.status.has_failed:
                return None
            if payment.open_dispute is not None:
                raise PaymentDisputed(payment.order_id, payment.open_dispute.id)
            if failed.amount > payment.amount_refundable:
                raise RefundExceedsPayment(payment, failed.amount)
            another = replace(
                failed,
                id=new_id(),
                origin=RefundOrigin.VOID if failed.origin is RefundOrigin.VOID else RefundOrigin.ADMIN,
                status=RefundStatus.REQUESTED,
                created_at=datetime.now(UTC),
                stripe_refund_id=None,
                failure_reason=None,
                generation=0,
                why=f"in the place of refund {failed.id}",
                version=1,
                saga_open=True,
            )
            return _with(payment.with_refund(another), failed.change(status=RefundStatus.REPLACED))

        return await self._change(refund_id, make_another)

    async def resolve(self, refund_id: str) -> Payment:
        """Note that a person dealt with a failed refund; of any other nothing changes."""

        def resolve(payment: Payment) -> Change | None:
            refund = payment.get_refund(refund_id)
            return _with(payment, refund.change(status=RefundStatus.RESOLVED)) if refund.status.has_failed else None

        return await self._change(refund_id, resolve)

    async def close(self, refund_id: str, *, version: int) -> bool:
        """Note that nothing more follows from the refund; false when it has another version by now."""

        def close(payment: Payment) -> Change | None:
            refund = payment.get_refund(refund_id)
            if refund.version != version or not refund.saga_open:
                return None
            return _with(payment, replace(refund, saga_open=False))

        return (await self._change(refund_id, close)).get_refund(refund_id).version == version

    async def _change(self, refund_id: str, decide: Callable[[Payment], Change | None]) -> Payment:
        async with self._database.autocommit() as connection:
            repository = PaymentRepository(connection)
            return await change_payment(repository, await _get(repository, refund_id), decide)


async def _get(repository: PaymentRepository, refund_id: str) -> Payment:
    payment = await repository.find_by_refund(refund_id)
    if payment is None:
        raise RefundNotFound(refund_id)
    return payment


def _with(payment: Payment, refund: Refund, *news: News) -> Change:
    return Change(payment=payment.with_refund(refund), news=news)


def _requested(payment: Payment, new: NewRefund, *, refund_id: str) -> Refund:
    """The refund that is asked for, if the payment can bear it."""
    if payment.status is not PaymentStatus.SUCCEEDED:
        raise PaymentNotRefundable(payment.order_id, "nothing was paid yet")
    if payment.voided:
        raise PaymentNotRefundable(payment.order_id, "all that was paid goes back already")
    if payment.open_dispute is not None:
        raise PaymentDisputed(payment.order_id, payment.open_dispute.id)
    amount = payment.amount_refundable if new.amount is None else new.amount
    if not 0 < amount <= payment.amount_refundable:
        raise RefundExceedsPayment(payment, new.amount)
    try:
        to_stripe(amount, payment.money)
    except PaymentRejected as rejected:
        raise InvalidArgument.of({"amount": rejected.message}) from None
    ordered = {line.product_id: line.quantity for line in new.ordered}
    for line in new.restock:
        left = ordered.get(line.product_id, 0) - payment.count_restocked(line.product_id)
        if line.quantity > left:
            raise RestockExceedsSale(payment.order_id, line, left=left)
    return Refund(
        id=refund_id,
        origin=RefundOrigin.ADMIN,
        amount=amount,
        currency=payment.money,
        status=RefundStatus.REQUESTED,
        created_at=datetime.now(UTC),
        restock=new.restock,
        restock_id=refund_id,
        requested_by=new.requested_by,
        why=new.why,
    )


def _settle(payment: Payment, made: Sequence[MadeRefund]) -> Change | None:
    """What a payment becomes by what Stripe says of its refunds."""
    settled, news = payment, list[News]()
    for found in made:
        known = _find(settled, found)
        if known is not None and known.status in _DEALT_WITH:
            continue
        if known is None:
            refund = _adopted(found)
        else:
            refund = replace(known, status=found.status, stripe_refund_id=found.id, failure_reason=found.failure_reason)
            if refund == known:
                continue
            refund = refund.change()
        settled = settled.with_refund(refund)
        if refund.status in _NEWS and (known is None or known.status is not refund.status):
            news.append(News(type=_NEWS[refund.status], refund=refund))
    return None if settled == payment else Change(payment=settled, news=news)


def _find(payment: Payment, found: MadeRefund) -> Refund | None:
    for refund in payment.refunds:
        if found.id == refund.stripe_refund_id or (refund.stripe_refund_id is None and found.refund_id == refund.id):
            return refund
    return None


def _adopted(found: MadeRefund) -> Refund:
    refund_id = new_id()
    return Refund(
        id=refund_id,
        restock_id=refund_id,
        origin=RefundOrigin.STRIPE,
        amount=found.amount,
        currency=found.currency,
        status=found.status,
        created_at=found.created_at,
        stripe_refund_id=found.id,
        failure_reason=found.failure_reason,
        why="made at Stripe's side",
    )
