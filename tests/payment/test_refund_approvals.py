"""Above a limit a refund wants a second person: who approves it before, and never both asks and approves."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from domain.ids import new_id
from domain.refunds import RefundOrigin, RefundStatus
from runtime.caller import Caller, CallerRole
from runtime.idempotency import IdempotencyKeyReused
from services.payment.bootstrap import PaymentComponents
from services.payment.payments.errors import PaymentNotFound
from services.payment.payments.model import Payment
from services.payment.refunds.errors import (
    PaymentDisputed,
    PaymentNotRefundable,
    RefundExceedsPayment,
    RefundNeedsAdmin,
    RefundNeedsApproval,
    RefundNeedsNoApproval,
)
from services.payment.refunds.model import GivenApproval, NewApproval, RequestedRefund
from tests.support.payment_harness import ADMIN, PaymentHarness, new_refund

VISA, FAILS_LATER = "pm_card_visa", "pm_card_refundFail"
LIMIT = 1_000
RACES = 50
GRACE = Caller(CallerRole.ADMIN, new_id())
"""Another admin than `ADMIN`, who asks."""
ADA = Caller(CallerRole.OPERATOR, "ada")


class Careful:
    """A payment service with a limit."""

    def __init__(self, harness: PaymentHarness, components: PaymentComponents) -> None:
        self.harness = harness
        self.components = components

    async def ask(self, payment: Payment, amount: int | None, *, key: str = "", **changes: Any) -> RequestedRefund:
        """Somebody asks for a refund, `ADMIN` unless told otherwise."""
        new = new_refund(payment, amount, **changes)
        return await self.components.refunds.request(new, idempotency_key=key or new_id(), wait=0)

    async def approve(
        self, payment: Payment, amount: int, *, by: Caller = GRACE, key: str | None = None, note: str = ""
    ) -> GivenApproval:
        """Somebody approves a refund."""
        new = NewApproval(order_id=payment.order_id, amount=amount, approver=by, note=note)
        return await self.components.approvals.approve(new, idempotency_key=key)

    async def uses(self, payment: Payment) -> list[str | None]:
        """Which refunds used the payment's approvals, the oldest approval first."""
        rows = await self.harness.rows(
            "SELECT refund_id FROM refund_approvals WHERE payment_id = %(id)s ORDER BY created_at, id", id=payment.id
        )
        return [row["refund_id"] for row in rows]


@pytest_asyncio.fixture
async def careful(harness: PaymentHarness) -> Careful:
    return Careful(harness, await harness.another_process(refund_approval_limit=LIMIT))


async def test_without_a_limit_no_refund_needs_a_second_person_and_none_can_approve(harness: PaymentHarness) -> None:
    payment = await harness.opened(VISA)
    new = NewApproval(order_id=payment.order_id, amount=2_599, approver=GRACE, note="")

    with pytest.raises(RefundNeedsNoApproval, match=r"25\.99 EUR of order .* needs no approval"):
        await harness.components.approvals.approve(new)

    assert (await harness.request(payment)).refund.amount == 2_599


async def test_one_person_gives_back_up_to_the_limit_in_however_many_parts_whoever_asks(careful: Careful) -> None:
    payment = await careful.harness.opened(VISA)
    await careful.ask(payment, 600)
    await careful.ask(payment, 400, requested_by=ADA.key, operator=ADA.id)

    for amount in (1, None):
        with pytest.raises(RefundNeedsApproval, match=r"one alone may give back 0\.00 EUR more"):
            await careful.ask(payment, amount, requested_by=new_id())

    assert [refund.amount for refund in (await careful.harness.stored(payment)).refunds] == [600, 400]


async def test_a_refused_request_is_sent_again_with_its_key_once_somebody_else_has_approved_it(
    careful: Careful,
) -> None:
    payment = await careful.harness.opened(VISA)
    key = new_id()
    with pytest.raises(RefundNeedsApproval, match=r"15\.00 EUR of order .* may give back 10\.00 EUR more$"):
        await careful.ask(payment, 1_500, key=key)

    given = await careful.approve(payment, 1_500, note="she is right")
    made = await careful.ask(payment, 1_500, key=key)
    again = await careful.ask(payment, 1_500, key=key)

    assert (made.replayed, again.replayed, again.refund.id) == (False, True, made.refund.id)
    assert made.refund.approved_by == given.approval.approved_by == f"admin:{GRACE.id}"
    assert await careful.uses(payment) == [made.refund.id]
    with pytest.raises(RefundNeedsApproval):
        await careful.ask(payment, 1)


async def test_whoever_approved_it_cannot_ask_for_it_and_is_told_so_by_name(careful: Careful) -> None:
    payment, another = await careful.harness.opened(VISA), await careful.harness.opened(VISA)
    await careful.approve(payment, 1_500, by=Caller(CallerRole.ADMIN, ADMIN))
    await careful.approve(another, 1_100, by=ADA)

    with pytest.raises(RefundNeedsApproval, match=f"admin:{ADMIN} has approved it, and cannot be both"):
        await careful.ask(payment, 1_500)
    with pytest.raises(RefundNeedsApproval, match="operator:ada has approved it"):
        await careful.ask(another, 1_100, requested_by=ADA.key, operator=ADA.id)
    assert await careful.uses(payment) == await careful.uses(another) == [None]
    by_another = await careful.ask(another, 1_100)

    assert by_another.refund.approved_by == "operator:ada"


async def test_an_approval_that_is_too_small_or_too_old_or_of_another_order_is_none(careful: Careful) -> None:
    payment, another = await careful.harness.opened(VISA), await careful.harness.opened(VISA)
    await careful.approve(another, 2_599)
    await careful.approve(payment, 1_499)
    await careful.approve(payment, 2_000)
    await careful.harness.rows("UPDATE refund_approvals SET expires_at = now() WHERE amount = 2000 RETURNING id")

    with pytest.raises(RefundNeedsApproval):
        await careful.ask(payment, 1_500)

    assert await careful.uses(payment) == [None, None]
    assert (await careful.ask(payment, 1_499)).refund.approved_by == f"admin:{GRACE.id}"


async def test_the_smallest_approval_that_is_large_enough_is_used(careful: Careful) -> None:
    payment = await careful.harness.opened(VISA)
    for amount in (2_500, 1_200, 1_100):
        await careful.approve(payment, amount)

    refund = (await careful.ask(payment, 1_150)).refund

    assert await careful.uses(payment) == [None, refund.id, None]


async def test_an_approval_is_left_alone_by_a_refund_that_needs_none(careful: Careful) -> None:
    payment = await careful.harness.opened(VISA)
    await careful.approve(payment, 1_500)

    refund = (await careful.ask(payment, 1_000)).refund

    assert (refund.approved_by, await careful.uses(payment)) == (None, [None])


async def test_an_approval_lasts_a_day_and_a_key_stands_for_one_of_its_person(careful: Careful) -> None:
    payment = await careful.harness.opened(VISA)

    first = await careful.approve(payment, 1_500, key="k", note="one")
    again = await careful.approve(payment, 1_500, key="k", note="one")
    others = await careful.approve(payment, 1_500, key="k", by=ADA, note="one")
    retyped = await careful.approve(payment, 1_500, key="k", by=ADA, note="two")
    for amount, note in ((1_600, "one"), (1_500, "two")):
        with pytest.raises(IdempotencyKeyReused):
            await careful.approve(payment, amount, key="k", note=note)

    assert (first.replayed, again.replayed, again.approval) == (False, True, first.approval)
    assert (others.replayed, retyped.replayed, retyped.approval) == (False, True, others.approval)
    assert first.approval.expires_at - first.approval.created_at == timedelta(hours=24)
    assert first.approval.expires_at > datetime.now(UTC) + timedelta(hours=23)
    assert await careful.uses(payment) == [None, None]
    await careful.approve(payment, 1_500)
    assert len(await careful.uses(payment)) == 3


async def test_what_cannot_be_refunded_or_needs_no_second_person_is_not_approved(careful: Careful) -> None:
    unpaid, paid, voided = [await careful.harness.opened(method) for method in (None, VISA, VISA)]
    await careful.harness.service.void(voided.order_id)
    disputed = await careful.harness.opened(VISA)
    await careful.harness.dispute(disputed)
    await careful.harness.hear("charge.dispute.created")

    with pytest.raises(PaymentNotRefundable, match="nothing was paid yet"):
        await careful.approve(unpaid, 1_500)
    with pytest.raises(PaymentNotRefundable, match="goes back already"):
        await careful.approve(voided, 1_500)
    with pytest.raises(PaymentDisputed):
        await careful.approve(disputed, 1_500)
    with pytest.raises(RefundExceedsPayment, match=r"25\.99 EUR is left"):
        await careful.approve(paid, 2_600)
    with pytest.raises(RefundNeedsNoApproval):
        await careful.approve(paid, LIMIT)
    with pytest.raises(PaymentNotFound):
        await careful.approve(unpaid.change(order_id=new_id()), 1_500)
    assert await careful.harness.rows("SELECT id FROM refund_approvals WHERE payment_id = %(id)s", id=paid.id) == []
    await careful.ask(paid, 900)
    assert (await careful.approve(paid, 101)).approval.amount == 101


async def test_support_needs_an_admin_first_and_within_its_own_limit_a_second_person_too(
    harness: PaymentHarness,
) -> None:
    careful = Careful(harness, await harness.another_process(refund_approval_limit=500))
    payment = await harness.opened(VISA)
    sam: dict[str, Any] = {"by_support": True, "requested_by": new_id()}
    await careful.approve(payment, 2_000)

    with pytest.raises(RefundNeedsAdmin):
        await careful.ask(payment, 1_001, **sam)
    assert (await careful.ask(payment, 1_000, **sam)).refund.approved_by == f"admin:{GRACE.id}"


async def test_money_that_is_due_goes_back_whatever_the_limit_and_counts_for_nobody(careful: Careful) -> None:
    payment = await careful.harness.opened(VISA)

    await careful.components.payments.void(payment.order_id)
    [due] = (await careful.harness.run_sagas(payment)).refunds

    assert (due.origin, due.status, due.amount) == (RefundOrigin.VOID, RefundStatus.SUCCEEDED, 2_599)


async def test_what_is_given_back_in_the_dashboard_counts(careful: Careful) -> None:
    payment = await careful.harness.opened(VISA)
    await careful.harness.sdk.v1.refunds.create_async({"payment_intent": payment.intent_id or "", "amount": 900})
    await careful.harness.hear("refund.created")

    with pytest.raises(RefundNeedsApproval, match=r"may give back 1\.00 EUR more"):
        await careful.ask(payment, 101)


async def failed(careful: Careful, payment: Payment, refund_id: str) -> None:
    """The refund is carried out, and Stripe takes it back."""
    refund = (await careful.harness.run_sagas(payment)).get_refund(refund_id)
    careful.harness.move_refund(refund.stripe_refund_id, "failed")
    await careful.harness.hear("refund.failed")


async def test_a_refund_in_the_place_of_one_that_was_approved_is_approved_too(careful: Careful) -> None:
    payment = await careful.harness.opened(FAILS_LATER)
    await careful.approve(payment, 1_500)
    refund = (await careful.ask(payment, 1_500)).refund
    await failed(careful, payment, refund.id)

    replaced = await careful.components.refunds.replace_failed(refund.id)

    [another] = [each for each in replaced.refunds if each.id != refund.id]
    assert (another.amount, another.approved_by) == (1_500, f"admin:{GRACE.id}")
    assert await careful.uses(payment) == [refund.id]


async def test_a_refund_in_the_place_of_one_that_needed_none_needs_one_if_others_gave_back_so_much_meanwhile(
    careful: Careful,
) -> None:
    payment = await careful.harness.opened(FAILS_LATER)
    refund = (await careful.ask(payment, 900)).refund
    await failed(careful, payment, refund.id)
    await careful.ask(payment, 800)

    with pytest.raises(RefundNeedsApproval):
        await careful.components.refunds.replace_failed(refund.id)
    waiting = (await careful.harness.stored(payment)).get_refund(refund.id)
    await careful.approve(payment, 900)
    replaced = await careful.components.refunds.replace_failed(refund.id)

    assert (waiting.status, len(replaced.refunds)) == (RefundStatus.FAILED, 3)
    [another] = [each for each in replaced.refunds if each.amount == 900 and each.id != refund.id]
    assert (another.approved_by, await careful.uses(payment)) == (f"admin:{GRACE.id}", [another.id])


async def test_requests_at_once_use_an_approval_once(careful: Careful) -> None:
    others = [
        Careful(careful.harness, await careful.harness.another_process(refund_approval_limit=LIMIT)) for _ in range(2)
    ]
    for _ in range(RACES):
        payment = await careful.harness.opened(VISA)
        await careful.approve(payment, 1_200)

        answers = await asyncio.gather(
            *(each.ask(payment, 1_200, requested_by=new_id()) for each in (careful, *others)), return_exceptions=True
        )

        [made] = [answer for answer in answers if isinstance(answer, RequestedRefund)]
        assert sum(isinstance(answer, RefundNeedsApproval) for answer in answers) == 2
        assert await careful.uses(payment) == [made.refund.id]
        assert [refund.id for refund in (await careful.harness.stored(payment)).refunds] == [made.refund.id]


async def test_an_approval_that_comes_at_once_with_its_request_is_used_or_waits_for_the_next(careful: Careful) -> None:
    other = Careful(careful.harness, await careful.harness.another_process(refund_approval_limit=LIMIT))
    for _ in range(RACES):
        payment, key = await careful.harness.opened(VISA), new_id()

        asked, given = await asyncio.gather(
            careful.ask(payment, 1_200, key=key), other.approve(payment, 1_200), return_exceptions=True
        )

        assert isinstance(given, GivenApproval)
        if not isinstance(asked, RequestedRefund):
            assert isinstance(asked, RefundNeedsApproval)
            assert await careful.uses(payment) == [None]
            asked = await careful.ask(payment, 1_200, key=key)
        assert await careful.uses(payment) == [asked.refund.id]


async def test_duplicates_at_once_give_one_approval(careful: Careful) -> None:
    other = Careful(careful.harness, await careful.harness.another_process(refund_approval_limit=LIMIT))
    for _ in range(RACES):
        payment, key = await careful.harness.opened(VISA), new_id()

        given = await asyncio.gather(*(each.approve(payment, 1_200, key=key) for each in (careful, other, careful)))

        assert len({each.approval.id for each in given}) == 1
        assert sorted(each.replayed for each in given) == [False, True, True]
        assert await careful.uses(payment) == [None]


async def test_operators_see_who_approved_what_and_customers_do_not(careful: Careful) -> None:
    payment = await careful.harness.opened(VISA)
    used = (await careful.approve(payment, 1_500, by=ADA, note="it never came")).approval
    await careful.approve(payment, 1_100)
    refund = (await careful.ask(payment, 1_500)).refund

    record = await careful.components.on_call.describe_order(payment.order_id)

    assert record is not None
    rows = {each.title: [dict(zip(each.columns, row, strict=True)) for row in each.rows] for each in record.sections}
    assert [row["approved_by"] for row in rows["refunds"]] == ["operator:ada"]
    assert [(row["amount"], row["refund"]) for row in rows["refund approvals"]] == [
        ("15.00 EUR", refund.id),
        ("11.00 EUR", None),
    ]
    [first, *_] = [entry for entry in record.timeline if entry.type == "refund.approved"]
    assert (first.actor, first.note, used.id in first.text) == ("operator:ada", "it never came", True)
    [requested] = [entry for entry in record.timeline if entry.type == "refund.requested"]
    assert "approved by operator:ada" in requested.text
    assert not any(entry.for_customer for entry in (first, requested))
