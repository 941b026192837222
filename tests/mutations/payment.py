"""Mutations of the payment service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tests.support.mutation import Mutation

_ROOMS = "services/payment"

PAYMENT: Final[Sequence[Mutation]] = (
    Mutation(
        breaks="a failed authentication is no attempt",
        file=f"{_ROOMS}/webhooks/processing.py",
        source="if event.is_failed_authentication:  # no",
        mutated="if False:  # no",
        tests=["tests/payment/test_events.py"],
    ),
    Mutation(
        breaks="a failed authentication is an attempt each time that its event is processed",
        file=f"{_ROOMS}/payments/decisions.py",
        source="attempt = FailedCharge(charge_id=event_id,",
        mutated='attempt = FailedCharge(charge_id=f"{event_id}-{len(payment.failed_charges)}",',
        tests=["tests/payment/test_events.py"],
    ),
    Mutation(
        breaks="a payment that is closing is confirmed",
        file=f"{_ROOMS}/payments/intents.py",
        source="if payment.closing or not payment.is_untried:",
        mutated="if not payment.is_untried:",
        tests=["tests/payment/test_closing.py"],
    ),
    Mutation(
        breaks="a refusal that Stripe stored is taken for an answer",
        file=f"{_ROOMS}/stripe/messages.py",
        source="if replayed else _refusal(error, message)",
        mutated="if replayed and False else _refusal(error, message)",
        tests=["tests/payment/test_spent_keys.py"],
    ),
    Mutation(
        breaks="a spent key is used again",
        file=f"{_ROOMS}/payments/decisions.py",
        source="    if payment.generation != spent:\n        return None",
        mutated="    if payment.generation == spent:\n        return None",
        tests=["tests/payment/test_spent_keys.py"],
    ),
    Mutation(
        breaks="a key that Stripe may have forgotten is used without a look",
        file=f"{_ROOMS}/payments/intents.py",
        source="if payment.generation_at < self._clock() - _KEY_LIFE:",
        mutated="if False:",
        tests=["tests/payment/test_opening.py"],
    ),
    Mutation(
        breaks="a re-read that found no change leaves no trace",
        file=f"{_ROOMS}/payments/store.py",
        source="            return await self._write_known(PaymentRepository(connection), seen, change)",
        mutated=(
            "            repository = PaymentRepository(connection)\n"
            "            if change.payment != seen:\n"
            "                return await self._write(repository, seen, change)\n"
            "            stored = await _get(repository, seen.order_id)\n"
            "            return stored if stored.version == seen.version else None"
        ),
        tests=["tests/payment/test_rereads.py"],
    ),
    Mutation(
        breaks="a re-read overwrites what another one found meanwhile",
        file=f"{_ROOMS}/payments/repository.py",
        source="         WHERE id = %(id)s AND version = %(version)s\n",
        mutated="         WHERE id = %(id)s AND version >= %(version)s\n",
        tests=["tests/payment/test_rereads.py"],
    ),
    Mutation(
        breaks="a payment is known as it was before a transaction changed it",
        file=f"{_ROOMS}/payments/store.py",
        source="        self._known.forget(locked.order_id)  # whether it is committed, others will know\n",
        mutated="",
        tests=["tests/payment/test_recalled.py"],
    ),
    Mutation(
        breaks="a payment that is known is not read, though it may have been paid meanwhile",
        file=f"{_ROOMS}/payments/service.py",
        source="if known is not None and known.status is PaymentStatus.SUCCEEDED:  # which",
        mutated="if known is not None:  # which",
        tests=["tests/payment/test_recalled.py"],
    ),
    Mutation(
        breaks="a charge that failed before a good one is not counted",
        file=f"{_ROOMS}/webhooks/processing.py",
        source="elif event.type == CHARGE_FAILED and payment.status is PaymentStatus.SUCCEEDED:",
        mutated="elif False:",
        tests=["tests/payment/test_rereads.py"],
    ),
    Mutation(
        breaks="late money is kept",
        file=f"{_ROOMS}/payments/store.py",
        source="payment = _with_refund_due(change.payment, at=at)",
        mutated="payment = change.payment",
        tests=["tests/payment/test_closing.py"],
    ),
    Mutation(
        breaks="the moment at which a refund was first over moves",
        file=f"{_ROOMS}/payments/store.py",
        source="if refund.is_over and refund.settled_at is None else refund",
        mutated="if refund.is_over else refund",
        tests=["tests/payment/test_refund_requests.py"],
    ),
    Mutation(
        breaks="a refund is made without a look whether Stripe has it",
        file=f"{_ROOMS}/refunds/service.py",
        source="        payment = await self.catch_up(payment, asking=refund_id)\n        refund = payment",
        mutated="        refund = payment",
        tests=["tests/payment/test_refunds_at_stripe.py"],
    ),
    Mutation(
        breaks="a refund is made while a bank decides about the money",
        file=f"{_ROOMS}/refunds/service.py",
        source="        decisions.check_undisputed(payment)\n        return await self._create",
        mutated="        return await self._create",
        tests=["tests/payment/test_disputes.py"],
    ),
    Mutation(
        breaks="refunds that waited for a bank are not notified of its decision",
        file=f"{_ROOMS}/disputes/decisions.py",
        source="if payment.open_dispute is not None and followed.open_dispute is None:",
        mutated="if False:",
        tests=["tests/payment/test_disputes.py"],
    ),
    Mutation(
        breaks="a saga is notified of what it has just been answered",
        file=f"{_ROOMS}/refunds/decisions.py",
        source="    if asking is None:\n        return change",
        mutated="    if asking is None or asking:\n        return change",
        tests=["tests/payment/test_follow_ups.py"],
    ),
    Mutation(
        breaks="a refund that changed is looked after as late as one that did not",
        file=f"{_ROOMS}/payments/repository.py",
        source="THEN now() ELSE {of}.next_attempt_at END,",
        mutated="THEN {of}.next_attempt_at ELSE {of}.next_attempt_at END,",
        tests=["tests/payment/test_events.py"],
    ),
    Mutation(
        breaks="more is refunded than came in",
        file=f"{_ROOMS}/refunds/decisions.py",
        source="if not 0 < amount <= payment.amount_refundable:",
        mutated="if amount <= 0:",
        tests=["tests/payment/test_refund_requests.py"],
    ),
    Mutation(
        breaks="whoever approves a refund asks for it, too",
        file=f"{_ROOMS}/refunds/approval_decisions.py",
        source="[each for each in fitting if each.approved_by_key != asks]",
        mutated="[each for each in fitting if each.approved_by_key or asks]",
        tests=["tests/payment/test_refund_approvals.py"],
    ),
    Mutation(
        breaks="an approval lets one refund after the other through",
        file=f"{_ROOMS}/refunds/approval_service.py",
        source="        await repository.use(approval.id, refund_id=refund.id)\n",
        mutated="",
        tests=["tests/payment/test_refund_approvals.py"],
    ),
    Mutation(
        breaks="a large refund in small parts needs nobody else",
        file=f"{_ROOMS}/refunds/approval_decisions.py",
        source="if not limit or _given_back(change.payment) <= limit:",
        mutated="if not limit or max(refund.amount for refund in change.payment.refunds) <= limit:",
        tests=["tests/payment/test_refund_approvals.py"],
    ),
    Mutation(
        breaks="an event of an unknown payment is given up at once",
        file=f"{_ROOMS}/webhooks/processing.py",
        source="return Unavailable(why) if event.age < self._grace_period else DeadLetter(why)",
        mutated="return DeadLetter(why)",
        tests=["tests/payment/test_events.py"],
    ),
    Mutation(
        breaks="a sweep that lost its turn moves the mark of the one that has it",
        file=f"{_ROOMS}/webhooks/repository.py",
        source="WHERE {DUE_SWEEP.still_claimed}",
        mutated="WHERE name = 'stripe'",
        tests=["tests/payment/test_one_sweep.py"],
    ),
    Mutation(
        breaks="a sweep that breaks off after an outage begins again from where it was before that",
        file=f"{_ROOMS}/webhooks/sweep.py",
        source="is_part = mark.behind > _FAR_BEHIND",
        mutated="is_part = False",
        tests=["tests/payment/test_one_sweep.py"],
    ),
    Mutation(
        breaks="the order is not notified of what became of its payment",
        file=f"{_ROOMS}/webhooks/processing.py",
        source="if not event.type.startswith((REFUND_TYPES, DISPUTE_TYPES)):",
        mutated="if False:",
        tests=["tests/payment/test_events.py"],
    ),
)
