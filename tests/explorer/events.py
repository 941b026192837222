"""What can happen outside of a saga, when it is possible, and how it happens in front of the doubles."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Final

from domain.stock import ReservationStatus
from tests.doubles.stripe import Card, StripeDeclines

if TYPE_CHECKING:
    from tests.explorer.case import Case

PAYABLE: Final = frozenset({"requires_payment_method", "requires_action"})
ATTEMPTS: Final = 3
SLOW_LOOKS: Final = 3

_strays = count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happens at most once in a case."""

    is_possible: Callable[[Case], bool]
    happen: Callable[[Case], Awaitable[None]]
    inside: bool = False
    """Whether it can also happen while the payment service is in the middle of a step: it is all at Stripe."""


def possible(case: Case, point: str) -> tuple[str, ...]:
    """The events that could arrive at this point of the run."""
    return tuple(
        name
        for name, event in EVENTS.items()
        if not case.happened[name]
        and (event.inside or not point.endswith(".inside"))
        and (name != CRASH or not (point.endswith(".before") or case.is_retry))
        and event.is_possible(case)
    )


def _is_payable(case: Case) -> bool:
    return case.intent is not None and case.intent.status in PAYABLE


def _confirm(case: Case, card: Card) -> None:
    assert case.intent is not None
    with suppress(StripeDeclines):
        case.shop.stripe.confirm(case.intent.id, card)


def _pays(card: Card, *, heard: bool = True, times: int = 1) -> Callable[[Case], Awaitable[None]]:
    """The customer confirms with this card, so many times; unless `heard`, Stripe's events are lost on their way."""

    async def happen(case: Case) -> None:
        if not _is_payable(case):
            return
        for _ in range(times):
            _confirm(case, card)
            if heard:
                await case.deliver()

    return happen


async def _pay_another_amount(case: Case) -> None:
    if _is_payable(case) and case.intent is not None:
        case.shop.stripe.change_amount(case.intent.id, 1_500)
        _confirm(case, Card.VISA)
        await case.deliver()


async def _authenticate(case: Case) -> None:
    if case.intent is not None and case.intent.status == "requires_action":
        case.shop.stripe.authenticate(case.intent.id)
        await case.deliver()


def _is_processing(case: Case) -> bool:
    return case.intent is not None and case.intent.status == "processing"


def _arrives(*, paid: bool) -> Callable[[Case], Awaitable[None]]:
    async def happen(case: Case) -> None:
        if case.intent is not None and _is_processing(case):
            stripe = case.shop.stripe
            (stripe.settle if paid else stripe.bounce)(case.intent.id)
            await case.deliver()

    return happen


async def _cancel_at_stripe(case: Case) -> None:
    if _is_payable(case) and case.intent is not None:
        case.shop.stripe.cancel(case.intent.id)
        await case.deliver()


async def _repeat_signal(case: Case) -> None:
    await case.signal(case.last_event_id or "none")


async def _stray_signal(case: Case) -> None:
    await case.signal(f"evt_stray_{next(_strays)}")


async def _withdraw(case: Case) -> None:
    for product in case.shop.pricing.products.values():
        product.active = False


async def _release_by_hand(case: Case) -> None:
    await case.shop.stock.release(case.order_id)


async def _die(case: Case) -> None:
    case.dies = True


async def _reserve_late(case: Case) -> None:
    await case.late(lambda: case.shop.stock.reserve(case.reserve_request()))


async def _open_late(case: Case) -> None:
    await case.late(lambda: case.shop.payments.open_payment(case.open_request()))


def _has_reservation(case: Case) -> bool:
    reservation = case.shop.stock.reservations.get(case.order_id)
    return reservation is not None and reservation.status is ReservationStatus.ACTIVE


def _always(case: Case) -> bool:
    return True


CRASH: Final = "crash"

EVENTS: Final[Mapping[str, Event]] = {
    # the customer, at Stripe
    "paid": Event(is_possible=_is_payable, happen=_pays(Card.VISA), inside=True),
    "paid-unheard": Event(is_possible=_is_payable, happen=_pays(Card.VISA, heard=False), inside=True),
    "mispaid": Event(is_possible=_is_payable, happen=_pay_another_amount, inside=True),
    "declined": Event(is_possible=_is_payable, happen=_pays(Card.DECLINED), inside=True),
    "declined-out": Event(is_possible=_is_payable, happen=_pays(Card.DECLINED, times=ATTEMPTS), inside=True),
    "action": Event(is_possible=_is_payable, happen=_pays(Card.AUTHENTICATION), inside=True),
    "authenticated": Event(
        is_possible=lambda case: case.intent is not None and case.intent.status == "requires_action",
        happen=_authenticate,
        inside=True,
    ),
    "slow": Event(is_possible=_is_payable, happen=_pays(Card.DELAYED), inside=True),
    "settled": Event(is_possible=_is_processing, happen=_arrives(paid=True), inside=True),
    "bounced": Event(is_possible=_is_processing, happen=_arrives(paid=False), inside=True),
    "gone": Event(is_possible=_is_payable, happen=_cancel_at_stripe, inside=True),
    # Stripe's events on their way
    "webhook": Event(
        is_possible=lambda case: case.shop.delivered < len(case.shop.stripe.events),
        happen=lambda case: case.deliver(),
    ),
    "doubled": Event(is_possible=lambda case: case.last_event_id is not None, happen=_repeat_signal),
    "stray": Event(is_possible=_always, happen=_stray_signal),
    # whoever wants the order cancelled
    "cancel": Event(is_possible=_always, happen=lambda case: case.ask_to_cancel()),
    "raw": Event(is_possible=_always, happen=lambda case: case.cancel_workflow()),
    # the shop's people
    "withdrawn": Event(is_possible=_always, happen=_withdraw),
    "unsold": Event(is_possible=_has_reservation, happen=_release_by_hand),
    # the worker, and the network
    CRASH: Event(is_possible=_always, happen=_die),
    "late-reserve": Event(is_possible=lambda case: case.calls["reserve"] > 0, happen=_reserve_late),
    "late-open": Event(is_possible=lambda case: case.calls["open_payment"] > 0, happen=_open_late),
}
"""By name. A crash is the worker's death with the workflow task that it is at, replaced by one with an empty cache: at
a step's end the step has taken effect and the history does not know. Late requests had been thought lost."""
