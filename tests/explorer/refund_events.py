"""What can happen outside of a refund's workflow, when it is possible, and how it happens in front of the doubles.

What happens at Stripe comes in three ways: as it is called, its event is delivered at once; ``-unheard``, it is lost on
its way until something else looks; ``-doubled``, it is delivered and wakes every workflow twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from temporalio.exceptions import ApplicationError

from domain.orders import OrderLine
from domain.saga import RestockRequest
from tests.doubles.stripe import Dispute, Refund
from tests.explorer.refund_gate import Flow
from tests.explorer.refund_shapes import ORDER, ORDERED, PRODUCT

if TYPE_CHECKING:
    from tests.explorer.refund_case import Case

TASK_TIMEOUT: Final = timedelta(seconds=2)
"""Real time that a workflow task of which nobody hears any more costs everybody."""
PART: Final = 500
UNHEARD: Final = "-unheard"
DOUBLED: Final = "-doubled"


@dataclass(frozen=True, slots=True, kw_only=True)
class AtStripe:
    """Something that happens at Stripe."""

    is_possible: Callable[[Case], bool]
    happen: Callable[[Case], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class AtHome:
    """Something that happens on our side; `where` is what its points end with."""

    is_possible: Callable[[Case], bool]
    happen: Callable[[Case, Flow | None], Awaitable[None]]
    where: tuple[str, ...] = (".before", ".after", ".attention")


def base(event: str) -> str:
    """The event without the way in which it is heard of."""
    return event.removesuffix(UNHEARD).removesuffix(DOUBLED)


def possible(case: Case, point: str) -> tuple[str, ...]:
    """The events that could arrive at this point of the run; each happens once in a case."""
    names: list[str] = []
    for name, event in AT_STRIPE.items():
        if not case.happened[name] and event.is_possible(case):
            names += [name, name + UNHEARD, name + DOUBLED]
    for name, mine in AT_HOME.items():
        if not case.happened[name] and mine.is_possible(case) and point.endswith(mine.where):
            names.append(name)
    return tuple(names)


async def happen(case: Case, flow: Flow | None, event: str) -> None:
    """Let it happen, if it still can."""
    if (mine := AT_HOME.get(event)) is not None:
        await mine.happen(case, flow)
        return
    client = AT_STRIPE[base(event)]
    if not client.is_possible(case):
        return
    client.happen(case)
    if not event.endswith(UNHEARD):
        await case.deliver()
    if event.endswith(DOUBLED) and not case.is_inside:
        await case.wake_again()


def _refunds(case: Case, *statuses: str) -> list[Refund]:
    return [made for made in case.intent.refunds if made.status in statuses]


def _disputes(case: Case) -> list[Dispute]:
    closed = ("won", "lost", "prevented", "warning_closed")
    return [dispute for dispute in case.intent.disputes if dispute.status not in closed]


def _moves(status: str, *, of: str) -> AtStripe:
    """The first refund that stands there moves on."""
    return AtStripe(
        is_possible=lambda case: bool(_refunds(case, of)),
        happen=lambda case: case.shop.stripe.move_refund(_refunds(case, of)[0].id, status),
    )


def _is_decided(status: str) -> AtStripe:
    return AtStripe(
        is_possible=lambda case: bool(_disputes(case)),
        happen=lambda case: case.shop.stripe.move_dispute(_disputes(case)[0].id, status),
    )


def _is_disputed(status: str) -> AtStripe:
    return AtStripe(
        is_possible=lambda case: not case.intent.disputes and case.intent.refunded < case.intent.amount_received,
        happen=lambda case: case.shop.stripe.dispute(case.intent.id, status=status),
    )


def _dashboard(amount: Callable[[Case], int]) -> AtStripe:
    return AtStripe(
        is_possible=lambda case: (
            0 < amount(case) <= case.intent.left and not any(each.withdrawn for each in case.intent.disputes)
        ),
        happen=lambda case: case.shop.stripe.refund(case.intent.id, refund_id=None, amount=amount(case)),
    )


async def _ask(case: Case, flow: Flow | None) -> None:
    with suppress(ApplicationError):
        case.shop.payments.request_refund(ORDER, PART)
        await case.follow()


async def _cancel(case: Case, flow: Flow | None) -> None:
    if flow is not None:
        await case.cancel(flow)


async def _put_back_by_hand(case: Case, flow: Flow | None) -> None:
    with suppress(ApplicationError):
        lines = [OrderLine(PRODUCT, ORDERED)]
        await case.shop.stock.restock(RestockRequest(restock_id="by hand", order_id=ORDER, lines=lines))


def _says(verdict: str) -> Callable[[Case, Flow | None], Awaitable[None]]:
    async def say(case: Case, flow: Flow | None) -> None:
        case.verdict = verdict

    return say


def _always(case: Case) -> bool:
    return True


AT_STRIPE: Final[Mapping[str, AtStripe]] = {
    "finished": _moves("succeeded", of="pending"),
    "failed": _moves("failed", of="pending"),
    "canceled": _moves("canceled", of="pending"),
    "back": _moves("failed", of="succeeded"),
    "disputed": _is_disputed("needs_response"),
    "inquired": _is_disputed("warning_needs_response"),
    "won": _is_decided("won"),
    "lost": _is_decided("lost"),
    "part": _dashboard(lambda case: PART),
    "rest": _dashboard(lambda case: case.intent.left),
}
AT_HOME: Final[Mapping[str, AtHome]] = {
    "heard": AtHome(
        is_possible=lambda case: case.shop.delivered < len(case.shop.stripe.events),
        happen=lambda case, flow: case.deliver(),
    ),
    "asked": AtHome(
        is_possible=lambda case: case.payment.refundable >= PART and not case.payment.voided,
        happen=_ask,
        where=(".before", ".attention"),
    ),
    "raw": AtHome(is_possible=_always, happen=_cancel),
    "returned": AtHome(
        is_possible=lambda case: not case.shop.stock.restocks and case.requested_pieces > 0,
        happen=_put_back_by_hand,
        where=("restock.before",),
    ),
    "retry": AtHome(is_possible=_always, happen=_says("retry"), where=(".attention",)),
    "resolve": AtHome(is_possible=_always, happen=_says("resolve"), where=(".attention",)),
}
"""By name. Asked: an admin wants a part of the rest; returned: the units were put back by hand; retry and resolve:
what the person at the parked step says."""
