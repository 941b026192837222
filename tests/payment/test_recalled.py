"""What a process has just written it need not read; what another one has done since is found out all the same."""

from __future__ import annotations

import pytest

from domain.payments import PaymentStatus
from services.payment.payments import decisions
from services.payment.payments.model import Payment
from tests.support.payment_harness import PaymentHarness, new_payment


async def paid_at_another_process(harness: PaymentHarness) -> Payment:
    """A payment that this process opened, and another one saw paid; as this one left it."""
    opened = await harness.service.open(new_payment())
    await harness.customer_pays(opened, "pm_card_visa")
    other = (await harness.another_process()).payments
    assert (await other.check(opened.order_id, refresh=True)).status is PaymentStatus.SUCCEEDED
    return opened


async def test_what_was_just_written_is_recalled(harness: PaymentHarness) -> None:
    payment = await harness.service.open(new_payment(payment_method="pm_card_visa"))
    before = harness.database.counts.statements.total()

    checked = await harness.service.check(payment.order_id, refresh=False, outcome_only=True)

    assert checked == payment
    assert harness.database.counts.statements.total() == before


async def test_a_payment_that_was_paid_at_another_process_is_read(harness: PaymentHarness) -> None:
    opened = await paid_at_another_process(harness)

    checked = await harness.service.check(opened.order_id, refresh=False, outcome_only=True)

    assert (opened.status, checked.status) == (PaymentStatus.REQUIRES_PAYMENT_METHOD, PaymentStatus.SUCCEEDED)


async def test_an_event_of_a_payment_that_another_process_has_changed_catches_up_with_that(
    harness: PaymentHarness,
) -> None:
    opened = await paid_at_another_process(harness)
    assert harness.store.recall(opened.order_id) == opened

    await harness.hear("payment_intent.succeeded")

    stored = await harness.store.get(opened.order_id)
    assert (stored.status, stored.amount_received) == (PaymentStatus.SUCCEEDED, opened.amount)
    assert harness.store.recall(opened.order_id) in (None, stored)


@pytest.mark.parametrize("commits", [True, False])
async def test_what_a_transaction_changes_is_not_recalled_as_it_was(harness: PaymentHarness, commits: bool) -> None:
    payment = await harness.service.open(new_payment(payment_method="pm_card_visa"))

    class RolledBack(Exception):
        pass

    try:
        async with harness.store.transaction() as transaction:
            locked = await harness.store.lock_in(transaction, payment.order_id)
            change = decisions.void(locked)
            assert change is not None
            await harness.store.change_in(transaction, locked, change)
            if not commits:
                raise RolledBack
    except RolledBack:
        pass

    assert harness.store.recall(payment.order_id) is None
