"""Plans for the payment service: what its callers, customers and Stripe may do, as data; and how it is done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from domain.ids import new_id
from domain.payments import PaymentStatus
from runtime.refusal import Refused, Unavailable
from services.payment.model import NewPayment, Payment
from tests.failpoints import MOST_ATTEMPTS, Life
from tests.payment_books import read_books
from tests.payment_process import PaymentProcess
from tests.payment_rig import Rig, new_payment


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
    """Webhooks come in: of all that Stripe owes these, by number, in this order."""

    numbers: tuple[int, ...]


@dataclass(frozen=True)
class Sweep:
    """Stripe's events are listed."""


Act = Open | Refresh | Close | Void | Pay | Authenticate | Hear | Sweep


class Scene:
    """Some orders, two processes of the payment service, and a Stripe that knows nothing else."""

    def __init__(self, rig: Rig, news: Sequence[NewPayment]) -> None:
        self.rig = rig
        self.news = news
        self.processes = [PaymentProcess(rig, Life()) for _ in range(2)]
        self.answers: dict[str, PaymentStatus] = {}
        """What an order's payment was said to be in the end."""
        self.undone: set[str] = set()
        """Orders whose payment was said to be undone."""

    @classmethod
    async def of(cls, rig: Rig, cards: Sequence[str | None]) -> Scene:
        """An order for each of these cards, or for a customer who is to pay later; nothing is opened yet."""
        rig.forget_everything()
        await rig.empty_inbox()
        return cls(rig, [new_payment(payment_method=card) for card in cards])

    async def do(self, act: Act, by: int) -> None:
        """Do it, if it is a service's, by this process. What is refused or has to be repeated is left at that."""
        process = self.processes[by]
        with suppress(Refused, Unavailable):
            match act:
                case Open(order):
                    self._note(await process.service.open(replace(self.news[order], id=new_id())))
                case Refresh(order):
                    self._note(await process.service.check(self.news[order].order_id, refresh=True))
                case Close(order):
                    self._note(await process.service.close(self.news[order].order_id))
                case Void(order):
                    await process.service.void(self.news[order].order_id)
                    self.undone.add(self.news[order].order_id)
                case Pay(order, card):
                    await self._pay(order, card)
                case Authenticate(order, succeeds):
                    await self._authenticate(order, succeeds=succeeds)
                case Hear(numbers):
                    bodies = await self.rig.webhook_bodies()
                    for number in numbers if bodies else ():
                        await process.take_webhook(bodies[number % len(bodies)])
                case Sweep():
                    await process.sweep_up()

    async def settle(self) -> None:
        """Every caller repeats until it has an answer; Stripe's events come in twice, the last one first."""
        for new in self.news:
            with suppress(Refused):
                payment = await self.rig.service.check(new.order_id, refresh=True)
                if payment.voided:
                    await self._persistently(self.rig.service.void, new.order_id)
                elif payment.closing:
                    await self._persistently(self.rig.service.close, new.order_id)
        for body in 2 * (await self.rig.webhook_bodies())[::-1]:
            await self.processes[0].take_webhook(body)
        await self.rig.due_again()
        await self.processes[1].inbox.work_off_due()

    async def check(self, *, settled: bool) -> None:
        """What holds at any time, or once all has settled; and that no answer was taken back."""
        for new in self.news:
            books = await read_books(self.rig, new.order_id)
            if settled and books.payment is not None:
                books.check_settled()
            else:
                books.check_always()
            if new.order_id in self.answers:
                assert books.payment is not None
                assert books.payment.status is self.answers[new.order_id]
            if new.order_id in self.undone:
                assert books.kept == 0
                assert books.status_at_stripe in (None, PaymentStatus.CANCELLED, PaymentStatus.SUCCEEDED)
        if settled:
            waiting = await self.rig.rows("SELECT event_id, note FROM provider_events WHERE processed_at IS NULL")
            assert waiting == []

    def _note(self, payment: Payment) -> None:
        if payment.status.is_final:
            assert self.answers.setdefault(payment.order_id, payment.status) is payment.status

    async def _persistently(self, ask: Callable[[str], Awaitable[object]], order_id: str) -> None:
        for _ in range(MOST_ATTEMPTS):
            with suppress(Unavailable):
                await ask(order_id)
                return
        raise AssertionError(f"no answer after {MOST_ATTEMPTS} attempts")

    async def _pay(self, order: int, card: str) -> None:
        payment = await self.rig.service.check(self.news[order].order_id, refresh=False)
        if payment.intent_id is not None:
            await self.rig.customer_pays(payment, card)

    async def _authenticate(self, order: int, *, succeeds: bool) -> None:
        payment = await self.rig.service.check(self.news[order].order_id, refresh=False)
        page = f"/_sandbox/payment_intents/{payment.intent_id}/authenticate"
        await self.rig.browser.post(page, json={"outcome": "succeed" if succeeds else "fail"})
