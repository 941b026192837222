"""The payment service dies at every point of every step, and the step is repeated: Stripe and our ledger agree.

No second intent, charge or refund, whatever the point, and whether Stripe still knows the idempotency keys or not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

import pytest

from domain.ids import new_id
from domain.payments import PaymentStatus
from domain.refunds import DisputeStatus, RefundStatus
from services.payment.payments import decisions
from services.payment.payments.errors import PaymentVoided
from services.payment.payments.model import NewPayment, Payment
from services.payment.refunds.errors import PaymentDisputed
from tests.support.failpoints import Case, Died, Lifecycle, explore
from tests.support.payment_harness import PaymentHarness, new_payment, new_refund, run_sagas
from tests.support.payment_ledger import read_ledger
from tests.support.payment_process import payment_process, sweep_up, take_webhook

VISA, DECLINED, AUTHENTICATION = "pm_card_visa", "pm_card_chargeDeclined", "pm_card_authenticationRequired"
PENDING, FAILS_LATER = "pm_card_pendingRefund", "pm_card_refundFail"

Figure = Callable[[str, object], None]


@dataclass(frozen=True)
class Order:
    """One order at a Stripe that knows no other."""

    harness: PaymentHarness
    new: NewPayment

    @classmethod
    async def placed(cls, harness: PaymentHarness, card: str | None = None) -> Order:
        harness.forget_everything()
        await harness.forget_due_work()
        return cls(harness, new_payment(payment_method=card))

    @property
    def id(self) -> str:
        return self.new.order_id

    async def opened(self, *, paid_with: str | None = None) -> Payment:
        """Its payment, opened; perhaps the customer has paid since, which we have not heard of."""
        payment = await self.harness.service.open(self.new)
        if paid_with is not None:
            await self.harness.customer_pays(payment, paid_with)
        return payment

    async def open(self, life: Lifecycle) -> Payment:
        """As the gRPC server does: with a new id at each attempt, which only the first one keeps."""
        async with payment_process(self.harness, life) as process:
            return await process.payments.open(replace(self.new, id=new_id()))

    async def close(self, life: Lifecycle) -> Payment:
        async with payment_process(self.harness, life) as process:
            return await process.payments.close(self.id)

    async def void(self, life: Lifecycle) -> None:
        """The order's saga undoes the payment, and the refund's saga gives back what is due."""
        async with payment_process(self.harness, life) as process:
            await process.payments.void(self.id)
            await run_sagas(process, self.id)

    async def refresh(self, life: Lifecycle) -> Payment:
        async with payment_process(self.harness, life) as process:
            return await process.payments.check(self.id, refresh=True)

    async def refund(self, life: Lifecycle, *, amount: int | None = 600) -> None:
        """An admin asks for a refund, again with the same key, and its saga carries it out and closes it."""
        payment = await self.harness.service.check(self.id, refresh=False)
        async with payment_process(self.harness, life) as process:
            await process.refunds.request(new_refund(payment, amount), idempotency_key=self.id, wait=0)
            await run_sagas(process, self.id)

    async def run_sagas(self, life: Lifecycle) -> None:
        async with payment_process(self.harness, life) as process:
            await run_sagas(process, self.id)

    async def replace_failed(self, life: Lifecycle) -> None:
        """A person lets each refund that failed be tried anew."""
        refunds = (await self.harness.service.check(self.id, refresh=False)).refunds
        async with payment_process(self.harness, life) as process:
            for refund in refunds:
                if refund.status.has_failed:
                    await process.refunds.replace_failed(refund.id)
            await run_sagas(process, self.id)

    async def decide_dispute(self, life: Lifecycle) -> None:
        """The dispute's case finds it decided, and the refunds that waited for it go on."""
        [dispute] = (await self.harness.service.check(self.id, refresh=False)).disputes
        async with payment_process(self.harness, life) as process:
            decided = (await process.disputes.check(dispute.id)).get_dispute(dispute.id)
            await process.disputes.close(dispute.id, version=decided.version)
            await run_sagas(process, self.id)

    async def take_webhooks(self, life: Lifecycle, *types: str) -> None:
        handled = types or ("payment_intent.succeeded", "payment_intent.payment_failed")
        bodies = await self.harness.webhook_bodies(*handled)
        async with payment_process(self.harness, life) as process:
            for body in bodies:
                await take_webhook(process, body)

    async def take_webhooks_of(self, kind: str, life: Lifecycle) -> None:
        await self.take_webhooks(life, kind)

    async def sweep_up(self, life: Lifecycle) -> None:
        async with payment_process(self.harness, life) as process:
            await sweep_up(process)

    async def a_day_passes(self) -> None:
        """Stripe forgets its keys."""
        self.harness.forget_keys()
        await self.harness.age(self.id, timedelta(hours=30))

    async def expect(
        self, status: PaymentStatus, *, intents: int = 1, paid: int = 0, failed: int = 0, refunds: int = 0
    ) -> None:
        """Both sides say this, and no event waits."""
        ledger = await read_ledger(self.harness, self.id)
        ledger.check_settled()
        assert ledger.payment is not None
        assert ledger.payment.status is status
        made = len(ledger.intents), len(ledger.paid), len(ledger.charges) - len(ledger.paid), len(ledger.refunds)
        assert made == (intents, paid, failed, refunds)
        assert await self.harness.rows("SELECT FROM provider_events WHERE status = 'RECEIVED'") == []

    async def expect_signalled(self, status: PaymentStatus, **counts: int) -> None:
        """As `expect`, and its workflow was woken."""
        await self.expect(status, **counts)
        assert self.id in self.harness.sagas.notified_orders

    async def reach_temporal(self) -> None:
        """Temporal is notified of every refund and dispute from which something follows."""
        await self.harness.make_follow_ups_due()
        await self.harness.follow_up()
        assert await self.harness.unnotified() == []
        ledger = await read_ledger(self.harness, self.id)
        ledger.check_always()
        payment, sagas = ledger.payment, self.harness.sagas
        assert payment is not None
        assert {refund.id for refund in payment.refunds} <= {refund_id for refund_id, _ in sagas.refunds}
        assert {dispute.id for dispute in payment.disputes} <= {dispute_id for dispute_id, _ in sagas.disputes}

    async def swept(self) -> None:
        """What the first process left is swept before the next one comes; an event's lease is over."""
        await self.reach_temporal()
        await self.harness.make_events_due()

    def followed(
        self,
        step: Callable[[Lifecycle], Awaitable[object]],
        statuses: list[RefundStatus],
        *,
        days: bool = False,
        disputes: list[DisputeStatus] | None = None,
        **counts: int,
    ) -> Case:
        """A step after which both sides say this of its refunds and disputes, of all of which Temporal knows."""

        async def meanwhile() -> None:
            await self.swept()
            if days:
                await self.a_day_passes()

        async def check() -> None:
            await self.expect(PaymentStatus.SUCCEEDED, paid=1, **counts)
            await self.reach_temporal()
            payment = await self.harness.service.check(self.id, refresh=False)
            assert sorted(refund.status for refund in payment.refunds) == sorted(statuses)
            assert [dispute.status for dispute in payment.disputes] == (disputes or [])
            for refund in payment.refunds:
                assert refund.saga_open is (refund.status.has_failed or refund.status is RefundStatus.PENDING)

        return Case(step=step, check=check, meanwhile=meanwhile)

    def case(
        self,
        step: Callable[[Lifecycle], Awaitable[object]],
        status: PaymentStatus,
        *,
        days: bool = False,
        **counts: int,
    ) -> Case:
        """A step after which both sides say this; with `days`, a day passes after each death."""
        return Case(
            step=step,
            check=partial(self.expect, status, **counts),
            meanwhile=self.a_day_passes if days else self.harness.make_events_due,
        )

    def notified(self, step: Callable[[Lifecycle], Awaitable[object]], status: PaymentStatus, **counts: int) -> Case:
        """A step in which Stripe's events come in."""
        return Case(
            step=step, check=partial(self.expect_signalled, status, **counts), meanwhile=self.harness.make_events_due
        )


async def opening(
    harness: PaymentHarness, card: str | None, status: PaymentStatus, *, days: bool = False, **counts: int
) -> Case:
    order = await Order.placed(harness, card)
    return order.case(order.open, status, days=days, **counts)


async def refreshing(
    harness: PaymentHarness, card: str, status: PaymentStatus, *, paid: int = 0, failed: int = 0
) -> Case:
    order = await Order.placed(harness)
    await order.opened(paid_with=card)
    return order.case(order.refresh, status, paid=paid, failed=failed)


async def closing(
    harness: PaymentHarness, card: str | None, status: PaymentStatus, *, days: bool = False, **counts: int
) -> Case:
    order = await Order.placed(harness)
    await order.opened(paid_with=card)
    return order.case(order.close, status, days=days, **counts)


async def voiding(
    harness: PaymentHarness, card: str | None, status: PaymentStatus, *, days: bool = False, **counts: int
) -> Case:
    order = await Order.placed(harness)
    await order.opened(paid_with=card)
    return order.case(order.void, status, days=days, **counts)


async def voiding_what_was_paid_at_once(harness: PaymentHarness) -> Case:
    order = await Order.placed(harness, VISA)
    await order.opened()
    return order.case(order.void, PaymentStatus.SUCCEEDED, paid=1, refunds=1)


async def voiding_an_unheard_intent(harness: PaymentHarness, *, days: bool = False) -> Case:
    """Stripe made the intent, and the service that asked for it died before it heard of that."""
    order = await Order.placed(harness, VISA)
    with pytest.raises(Died, match="POST /v1/payment_intents"):
        await order.open(Lifecycle(acts=2))
    if days:
        await order.a_day_passes()
    return order.case(order.void, PaymentStatus.CANCELLED, days=days)


async def voiding_nothing(harness: PaymentHarness) -> Case:
    order = await Order.placed(harness, VISA)

    async def check() -> None:
        with pytest.raises(PaymentVoided):
            await order.opened()
        await order.expect(PaymentStatus.CANCELLED, intents=0)

    return Case(step=order.void, check=check)


async def hearing(harness: PaymentHarness, card: str, status: PaymentStatus, **counts: int) -> Case:
    order = await Order.placed(harness)
    await order.opened(paid_with=card)
    return order.notified(order.take_webhooks, status, **counts)


async def hearing_of_late_money(harness: PaymentHarness) -> Case:
    """The order is over, its payment noted as voided and not yet cancelled at Stripe, when the customer pays."""
    order = await Order.placed(harness)
    payment = await order.opened()
    await harness.store.change(payment, decisions.void)
    await harness.customer_pays(payment, VISA)

    async def step(life: Lifecycle) -> None:
        await order.take_webhooks(life)
        await order.run_sagas(life)

    case = order.followed(step, [RefundStatus.SUCCEEDED], refunds=1)

    async def check() -> None:
        await case.check()
        assert order.id in harness.sagas.notified_orders

    return replace(case, check=check)


async def sweeping(harness: PaymentHarness) -> Case:
    order = await Order.placed(harness)
    await order.opened(paid_with=VISA)
    return order.notified(order.sweep_up, PaymentStatus.SUCCEEDED, paid=1)


async def paid(harness: PaymentHarness, card: str = VISA) -> Order:
    order = await Order.placed(harness, card)
    await order.opened()
    return order


async def refunding(harness: PaymentHarness, *, days: bool = False) -> Case:
    order = await paid(harness)
    return order.followed(order.refund, [RefundStatus.SUCCEEDED], days=days, refunds=1)


async def refunding_what_takes_days(harness: PaymentHarness) -> Case:
    order = await paid(harness, PENDING)
    return order.followed(order.refund, [RefundStatus.PENDING], days=True, refunds=1)


async def refunding_what_stripe_refuses(harness: PaymentHarness) -> Case:
    order = await paid(harness)
    [charge] = await harness.charges(await harness.service.check(order.id, refresh=False))
    harness.refuse_refunds(charge)

    async def step(life: Lifecycle) -> None:
        await order.refund(life)

    async def check() -> None:
        harness.allow_refunds(charge)
        await order.followed(step, [RefundStatus.FAILED]).check()

    return replace(order.followed(step, []), check=check, meanwhile=harness.make_events_due)


async def giving_back_beside_the_dashboard(harness: PaymentHarness) -> Case:
    """Of a voided payment somebody gives a part back in the dashboard, of which we do not know."""
    order = await paid(harness)
    await harness.service.void(order.id)
    await harness.refund_in_dashboard(await harness.service.check(order.id, refresh=False), 1_000)

    async def step(life: Lifecycle) -> None:
        await order.run_sagas(life)

    async def check() -> None:
        statuses = [RefundStatus.SUCCEEDED, RefundStatus.SUCCEEDED, RefundStatus.REPLACED]
        await order.followed(step, statuses, refunds=2).check()

    return replace(order.followed(step, []), check=check, meanwhile=order.swept)


async def hearing_of_a_dashboard_refund(harness: PaymentHarness) -> Case:
    order = await paid(harness)
    await harness.refund_in_dashboard(await harness.service.check(order.id, refresh=False), 600)

    async def step(life: Lifecycle) -> None:
        await order.take_webhooks(life, "refund.created")
        await order.run_sagas(life)

    return order.followed(step, [RefundStatus.SUCCEEDED], refunds=1)


async def failing_later(harness: PaymentHarness) -> Order:
    """A refund has succeeded, all is done, and Stripe takes it back."""
    order = await paid(harness, FAILS_LATER)
    refund = await harness.refunded(await harness.service.check(order.id, refresh=False), 600)
    harness.move_refund(refund.stripe_refund_id, "failed")
    return order


async def hearing_of_a_refund_taken_back(harness: PaymentHarness) -> Case:
    order = await failing_later(harness)
    return order.followed(partial(order.take_webhooks_of, "refund.failed"), [RefundStatus.FAILED], refunds=1)


async def replacing_a_failed_refund(harness: PaymentHarness) -> Case:
    order = await failing_later(harness)
    await harness.hear("refund.failed")
    return order.followed(order.replace_failed, [RefundStatus.REPLACED, RefundStatus.SUCCEEDED], refunds=2)


async def hearing_of_a_dispute(harness: PaymentHarness) -> Case:
    order = await paid(harness)
    await harness.dispute(await harness.service.check(order.id, refresh=False))
    step = partial(order.take_webhooks_of, "charge.dispute.created")
    return order.followed(step, [], disputes=[DisputeStatus.NEEDS_RESPONSE])


async def winning_a_dispute(harness: PaymentHarness) -> Case:
    """A refund was refused by Stripe for a dispute, which is won by now; which we have not heard of."""
    order = await paid(harness)
    payment = await harness.service.check(order.id, refresh=False)
    refund = (await harness.request(payment, 600)).refund
    dispute_id = await harness.dispute(payment)
    with pytest.raises(PaymentDisputed):
        await harness.refund_service.carry_out(refund.id)
    await harness.follow_up()
    harness.move_dispute(dispute_id, "won")
    return order.followed(order.decide_dispute, [RefundStatus.SUCCEEDED], disputes=[DisputeStatus.WON], refunds=1)


_WAITS, _DONE, _OVER = PaymentStatus.REQUIRES_PAYMENT_METHOD, PaymentStatus.SUCCEEDED, PaymentStatus.CANCELLED

SCENARIOS: dict[str, Callable[[PaymentHarness], Awaitable[Case]]] = {
    "open": lambda harness: opening(harness, None, _WAITS),
    "open, a good card": lambda harness: opening(harness, VISA, _DONE, paid=1),
    "open, a declined card": lambda harness: opening(harness, DECLINED, _WAITS, failed=1),
    "open, authentication": lambda harness: opening(harness, AUTHENTICATION, PaymentStatus.REQUIRES_ACTION),
    "open, a good card, keys gone": lambda harness: opening(harness, VISA, _DONE, paid=1, days=True),
    "open, a declined card, keys gone": lambda harness: opening(harness, DECLINED, _WAITS, failed=1, days=True),
    "refresh after a payment": lambda harness: refreshing(harness, VISA, _DONE, paid=1),
    "refresh after a decline": lambda harness: refreshing(harness, DECLINED, _WAITS, failed=1),
    "close": lambda harness: closing(harness, None, _OVER),
    "close, keys gone": lambda harness: closing(harness, None, _OVER, days=True),
    "close what was paid unseen": lambda harness: closing(harness, VISA, _DONE, paid=1),
    "void": lambda harness: voiding(harness, None, _OVER),
    "void what was paid": voiding_what_was_paid_at_once,
    "void what was paid unseen": lambda harness: voiding(harness, VISA, _DONE, paid=1, refunds=1),
    "void what was paid unseen, keys gone": lambda harness: voiding(harness, VISA, _DONE, paid=1, refunds=1, days=True),
    "void an intent not heard of": voiding_an_unheard_intent,
    "void an intent not heard of, keys gone": partial(voiding_an_unheard_intent, days=True),
    "void before the open": voiding_nothing,
    "webhook of a payment": lambda harness: hearing(harness, VISA, _DONE, paid=1),
    "webhook of a decline": lambda harness: hearing(harness, DECLINED, _WAITS, failed=1),
    "webhook of late money": hearing_of_late_money,
    "sweep": sweeping,
    "refund": refunding,
    "refund, keys gone": partial(refunding, days=True),
    "refund that takes days": refunding_what_takes_days,
    "refund that Stripe refuses": refunding_what_stripe_refuses,
    "what is due beside the dashboard": giving_back_beside_the_dashboard,
    "webhook of a dashboard refund": hearing_of_a_dashboard_refund,
    "webhook of a refund taken back": hearing_of_a_refund_taken_back,
    "a failed refund tried anew": replacing_a_failed_refund,
    "webhook of a dispute": hearing_of_a_dispute,
    "a dispute that is won": winning_a_dispute,
}


ONE_PAIR_IN = 4
MANY_PAIRS = {
    "void what was paid unseen",
    "webhook of late money",
    "sweep",
    "refund",
    "refund, keys gone",
    "refund that takes days",
    "refund that Stripe refuses",
    "what is due beside the dashboard",
    "webhook of a dashboard refund",
    "webhook of a refund taken back",
    "a failed refund tried anew",
    "webhook of a dispute",
    "a dispute that is won",
}
"""Of these one pair of deaths in `ONE_PAIR_IN` is run: all take half an hour."""


@pytest.fixture(autouse=True)
def follow_ups_go_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Side by side they would act in another order each time, and a point of death be another one."""
    monkeypatch.setattr("services.payment.payments.follow_ups._CONCURRENCY", 1)


@pytest.mark.parametrize("deaths", [1, pytest.param(2, marks=pytest.mark.more)])
@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_a_step_that_dies_anywhere_and_is_repeated_moves_money_once(
    shared_harness: PaymentHarness, scenario: str, deaths: int, record_property: Figure
) -> None:
    async def begin() -> Case:
        # looked after 10 s later, those of cases before would be points of this one, on a slow machine alone
        await shared_harness.postpone_follow_ups()
        return await SCENARIOS[scenario](shared_harness)

    one_in = ONE_PAIR_IN if deaths > 1 and scenario in MANY_PAIRS else 1
    explored = await explore(begin, deaths=deaths, one_in=one_in)

    record_property("figure", f"payment dies, {scenario}: {explored}")
    assert explored.schedules[deaths] > 0
