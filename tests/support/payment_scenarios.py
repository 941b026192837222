"""Plans for the payment service: what its callers, customers and Stripe may do, as data; and how it is done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import stripe

from domain.ids import new_id
from domain.payments import PaymentStatus
from runtime.refusal import Refused, Unavailable
from sandbox.stripe.errors import ApiError
from services.payment.bootstrap import PaymentComponents
from services.payment.payments.errors import PaymentNotFound
from services.payment.payments.model import NewPayment, Payment
from services.payment.refunds.errors import PaymentDisputed
from tests.support.failpoints import MOST_ATTEMPTS
from tests.support.payment_harness import PaymentHarness, new_payment, new_refund, run_sagas
from tests.support.payment_ledger import read_ledger
from tests.support.payment_process import sweep_up, take_webhook


@dataclass(frozen=True)
class Open:
    """The saga opens the payment."""

    order: int


@dataclass(frozen=True)
class Refresh:
    """The saga looks what became of it."""

    order: int


@dataclass(frozen=True)
class Close:
    """The deadline has come."""

    order: int


@dataclass(frozen=True)
class Void:
    """The order is undone."""

    order: int


@dataclass(frozen=True)
class Pay:
    """The customer pays in the browser, if there is something to pay."""

    order: int
    card: str


@dataclass(frozen=True)
class Authenticate:
    """The customer is on the page of their bank, if it asked for that."""

    order: int
    succeeds: bool


@dataclass(frozen=True)
class Hear:
    """Webhooks come in: of all that Stripe has to send these, by number, in this order."""

    numbers: tuple[int, ...]


@dataclass(frozen=True)
class Sweep:
    """Stripe's events are listed."""


@dataclass(frozen=True)
class Request:
    """An admin asks for a refund; the same number is the same request."""

    order: int
    amount: int | None
    number: int


@dataclass(frozen=True)
class CarryOut:
    """The sagas of the order's refunds go on as far as they get."""

    order: int


@dataclass(frozen=True)
class Retry:
    """A person lets the refunds that failed be tried anew or, with `resolve`, says that they are dealt with."""

    order: int
    resolve: bool


@dataclass(frozen=True)
class Dashboard:
    """Somebody gives money back in Stripe's dashboard, if Stripe lets them."""

    order: int
    amount: int


@dataclass(frozen=True)
class MoveRefund:
    """Stripe or a bank does this to one of the order's refunds, by number, if it can become that."""

    order: int
    number: int
    status: str


@dataclass(frozen=True)
class OpenDispute:
    """The customer goes to their bank, if they paid and did not do so before."""

    order: int
    status: str


@dataclass(frozen=True)
class MoveDispute:
    """The bank moves the order's dispute on, if it can become that."""

    order: int
    status: str


@dataclass(frozen=True)
class LookAtDispute:
    """The case of the order's dispute reads it, and closes it when it is decided."""

    order: int


@dataclass(frozen=True)
class SweepFollowUps:
    """Open refunds and disputes are looked at."""


Act = (
    Open
    | Refresh
    | Close
    | Void
    | Pay
    | Authenticate
    | Hear
    | Sweep
    | Request
    | CarryOut
    | Retry
    | Dashboard
    | MoveRefund
    | OpenDispute
    | MoveDispute
    | LookAtDispute
    | SweepFollowUps
)


async def look_at_disputes(components: PaymentComponents, order_id: str) -> None:
    """Do what the cases of the payment's disputes do: read each, and close it when it is decided."""
    for known in (await components.payments.check(order_id, refresh=False)).disputes:
        dispute = (await components.disputes.check(known.id)).get_dispute(known.id)
        if not dispute.status.is_open:
            await components.disputes.close(dispute.id, version=dispute.version)


class Scene:
    """Some orders, two processes of the payment service, and a Stripe that knows nothing else."""

    def __init__(
        self, harness: PaymentHarness, processes: Sequence[PaymentComponents], new_payments: Sequence[NewPayment]
    ) -> None:
        self.harness = harness
        self.processes = processes
        self.new_payments = new_payments
        self.answers: dict[str, PaymentStatus] = {}
        """What an order's payment was said to be in the end."""
        self.undone: set[str] = set()
        """Orders whose payment was said to be undone."""
        self.requests: dict[str, str] = {}
        """The refund that an admin's key was said to stand for."""

    @classmethod
    async def of(cls, harness: PaymentHarness, cards: Sequence[str | None]) -> Scene:
        """An order for each of these cards, or for a customer who is to pay later; nothing is opened yet."""
        harness.forget_everything()
        await harness.forget_due_work()
        processes = await harness.two_processes()
        return cls(harness, processes, [new_payment(payment_method=card) for card in cards])

    async def do(self, act: Act, by: int) -> None:
        """Do it, if it is a service's, by this process. What is refused or has to be repeated is left at that."""
        process = self.processes[by]
        with suppress(Refused, Unavailable):
            match act:
                case Open(order):
                    self._note(await process.payments.open(replace(self.new_payments[order], id=new_id())))
                case Refresh(order):
                    self._note(await process.payments.check(self.new_payments[order].order_id, refresh=True))
                case Close(order):
                    self._note(await process.payments.close(self.new_payments[order].order_id))
                case Void(order):
                    await process.payments.void(self.new_payments[order].order_id)
                    self.undone.add(self.new_payments[order].order_id)
                case Pay(order, card):
                    await self._pay(order, card)
                case Authenticate(order, succeeds):
                    await self._authenticate(order, succeeds=succeeds)
                case Hear(numbers):
                    bodies = await self.harness.webhook_bodies()
                    for number in numbers if bodies else ():
                        await take_webhook(process, bodies[number % len(bodies)])
                case Sweep():
                    await sweep_up(process)
                case Request(order, amount, number):
                    await self._request(process, order, amount, number)
                case CarryOut(order):
                    await run_sagas(process, self.new_payments[order].order_id)
                case Retry(order, resolve):
                    await self._retry(process, order, resolve=resolve)
                case LookAtDispute(order):
                    await look_at_disputes(process, self.new_payments[order].order_id)
                case SweepFollowUps():
                    await process.refund_follow_ups.process_due()
                    await process.dispute_follow_ups.process_due()
                case _:
                    await self._happen_at_stripe(act)

    async def settle(self) -> None:
        """Every caller repeats until it has an answer; Stripe's events come in twice, the last one first."""
        for new in self.new_payments:
            with suppress(Refused):
                payment = await self.harness.service.check(new.order_id, refresh=True)
                if payment.voided:
                    await self._persistently(self.harness.service.void, new.order_id)
                elif payment.closing:
                    await self._persistently(self.harness.service.close, new.order_id)
        for body in 2 * (await self.harness.webhook_bodies())[::-1]:
            await take_webhook(self.processes[0], body)
        await self.harness.make_events_due()
        await self.processes[1].inbox.process_due()
        for new in self.new_payments:
            await self._follow_up(new.order_id)
        await self.harness.make_follow_ups_due()
        await self.harness.follow_up()

    async def _follow_up(self, order_id: str) -> None:
        """Every saga and case goes on until only people, banks and Stripe can move it."""
        for _ in range(MOST_ATTEMPTS):
            with suppress(Unavailable):
                with suppress(PaymentDisputed, PaymentNotFound):
                    await run_sagas(self.harness.components, order_id)
                with suppress(PaymentNotFound):
                    await look_at_disputes(self.harness.components, order_id)
                return
        raise AssertionError(f"not done after {MOST_ATTEMPTS} attempts")

    async def check(self, *, settled: bool) -> None:
        """What holds at any time, or once all has settled; and that no answer was taken back."""
        for new in self.new_payments:
            ledger = await read_ledger(self.harness, new.order_id)
            if settled and ledger.payment is not None:
                ledger.check_settled()
            else:
                ledger.check_always()
            if new.order_id in self.answers:
                assert ledger.payment is not None
                assert ledger.payment.status is self.answers[new.order_id]
            if new.order_id in self.undone:
                payment = ledger.payment
                assert payment is not None
                assert payment.amount_outstanding == 0
                assert ledger.status_at_stripe in (None, PaymentStatus.CANCELLED, PaymentStatus.SUCCEEDED)
        if settled:
            waiting = await self.harness.rows("SELECT event_id, note FROM provider_events WHERE processed_at IS NULL")
            assert waiting == []
            assert await self.harness.unnotified() == []

    def _note(self, payment: Payment) -> None:
        if payment.status.is_final:
            assert self.answers.setdefault(payment.order_id, payment.status) is payment.status

    async def _persistently(self, ask: Callable[[str], Awaitable[object]], order_id: str) -> None:
        for _ in range(MOST_ATTEMPTS):
            with suppress(Unavailable):
                await ask(order_id)
                return
        raise AssertionError(f"no answer after {MOST_ATTEMPTS} attempts")

    async def _payment(self, order: int) -> Payment:
        return await self.harness.service.check(self.new_payments[order].order_id, refresh=False)

    async def _request(self, components: PaymentComponents, order: int, amount: int | None, number: int) -> None:
        before = await self._payment(order)
        key = f"{before.order_id}-{number}"
        requested = await components.refunds.request(new_refund(before, amount), idempotency_key=key, wait=0)
        known = self.requests.setdefault(key, requested.refund.id)
        assert requested.refund.id == known
        assert requested.refund.amount <= before.amount

    async def _retry(self, components: PaymentComponents, order: int, *, resolve: bool) -> None:
        for refund in (await self._payment(order)).refunds:
            if refund.status.has_failed:
                await (components.refunds.resolve if resolve else components.refunds.replace_failed)(refund.id)

    async def _happen_at_stripe(self, act: Act) -> None:
        """What Stripe does not allow does not happen."""
        with suppress(ApiError, stripe.InvalidRequestError):
            match act:
                case Dashboard(order, amount):
                    await self.harness.refund_in_dashboard(await self._payment(order), amount)
                case MoveRefund(order, number, status):
                    refunds = await self.harness.refunds(await self._payment(order))
                    if refunds:
                        self.harness.move_refund(refunds[number % len(refunds)].id, status)
                case OpenDispute(order, status):
                    payment = await self._payment(order)
                    if [charge for charge in await self.harness.charges(payment) if charge.status == "succeeded"]:
                        await self.harness.dispute(payment, status=status)
                case MoveDispute(order, status):
                    for dispute in (await read_ledger(self.harness, self.new_payments[order].order_id)).disputes:
                        self.harness.move_dispute(dispute["id"], status)

    async def _pay(self, order: int, card: str) -> None:
        payment = await self.harness.service.check(self.new_payments[order].order_id, refresh=False)
        if payment.intent_id is not None:
            await self.harness.customer_pays(payment, card)

    async def _authenticate(self, order: int, *, succeeds: bool) -> None:
        payment = await self.harness.service.check(self.new_payments[order].order_id, refresh=False)
        with suppress(ApiError):
            self.harness.authenticate(payment, succeeds=succeeds)
