"""What can happen to an order: its customer, money on its way, the shop's people, the worker, and the network."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec

from ordersaga.product.v1 import product_pb2
from runtime.caller import Caller, CallerRole
from sandbox.stripe.errors import ApiError
from sandbox.stripe.objects import Intent, IntentStatus
from sandbox.stripe.rules.intents import Authentication
from tests.saga.simulator.events import ANYWHERE, CRASH, Event, Where
from tests.saga.simulator.turns import Flow
from tests.support.identities import signed_in

if TYPE_CHECKING:
    from tests.saga.simulator.case import Case

PAYABLE: Final = frozenset({IntentStatus.REQUIRES_PAYMENT_METHOD, IntentStatus.REQUIRES_ACTION})
VISA: Final = "pm_card_visa"
DECLINED: Final = "pm_card_chargeDeclined"
AUTHENTICATION: Final = "pm_card_authenticationRequired"
DEBIT: Final = "pm_success_de"
"""Leaves the intent processing until its money arrives, or does not."""
ATTEMPTS: Final = 3
MISPAID: Final = 1_500
"""Minor units that come in when somebody changed the amount."""
ADMIN: Final = Caller(CallerRole.ADMIN, "0197a6a5-0000-7000-8000-000000000001")
IN_ORDERS: Final = ANYWHERE - {Where.END}

Happens = Callable[["Case", Flow | None], Awaitable[object]]


def _status(case: Case) -> IntentStatus | None:
    return None if case.at_stripe.intent is None else case.at_stripe.intent.status


def _is_payable(case: Case) -> bool:
    return _status(case) in PAYABLE


def _is(status: IntentStatus) -> Callable[[Case], bool]:
    return lambda case: _status(case) is status


def _has_reservation(case: Case) -> bool:
    return case.effects["reserve"] > 0 and not case.effects["release"] and not case.effects["commit"]


def _is_quoted(case: Case) -> bool:
    return case.calls["quote"] > 0


def _always(case: Case) -> bool:
    return True


def _intent(case: Case) -> Intent:
    assert case.at_stripe.intent is not None
    return case.at_stripe.intent


def _confirm(case: Case, payment_method: str) -> None:
    with suppress(ApiError):  # it was declined
        case.slot.installation.account.confirm(_intent(case).id, payment_method)


def _pays(payment_method: str, *, heard: bool = True, times: int = 1) -> Happens:
    """The customer confirms, so many times; unless `heard`, Stripe's events are still under way."""

    async def happen(case: Case, flow: Flow | None) -> None:
        for _ in range(times):
            _confirm(case, payment_method)
            if heard:
                await case.deliver()

    return happen


async def _pay_another_amount(case: Case, flow: Flow | None) -> None:
    """Somebody with the secret key changes the amount, and then it is paid."""
    case.slot.installation.account.overwrite(msgspec.structs.replace(_intent(case), amount=MISPAID))
    _confirm(case, VISA)
    await case.deliver()


async def _authenticate(case: Case, flow: Flow | None) -> None:
    case.slot.installation.account.authenticate(_intent(case).id)
    await case.deliver()


async def _fail_authentication(case: Case, flow: Flow | None) -> None:
    case.slot.installation.account.authenticate(_intent(case).id, Authentication.FAIL)
    await case.deliver()


def _arrives(*, paid: bool) -> Happens:
    async def happen(case: Case, flow: Flow | None) -> None:
        account = case.slot.installation.account
        (account.settle if paid else account.fail)(_intent(case).id)
        await case.deliver()

    return happen


async def _cancel_at_stripe(case: Case, flow: Flow | None) -> None:
    await case.slot.installation.reader.v1.payment_intents.cancel_async(_intent(case).id)
    await case.deliver()


async def _withdraw(case: Case, flow: Flow | None) -> None:
    request = product_pb2.UpdateProductRequest(product_id=case.product_id, active=False)
    await case.slot.installation.products.UpdateProduct(request, metadata=signed_in(ADMIN).metadata)


def _costs(price: int) -> Happens:
    async def happen(case: Case, flow: Flow | None) -> None:
        request = product_pb2.UpdateProductRequest(product_id=case.product_id, unit_price=price)
        await case.slot.installation.products.UpdateProduct(request, metadata=signed_in(ADMIN).metadata)

    return happen


async def _release_by_hand(case: Case, flow: Flow | None) -> None:
    await case.slot.installation.repeat("release", case.order_id)


async def _die(case: Case, flow: Flow | None) -> None:
    assert flow is not None
    flow.dies = True


async def _retry(case: Case, flow: Flow | None) -> None:
    if flow is not None:
        await case.retry(flow)


async def _cancel_workflow(case: Case, flow: Flow | None) -> None:
    if flow is not None:
        await case.cancel_workflow(flow)


def _repeats(step: str) -> Happens:
    return lambda case, flow: case.repeat(step)


EVENTS: Final[Mapping[str, Event]] = {
    # the customer, at Stripe
    "paid": Event(is_possible=_is_payable, happen=_pays(VISA), where=IN_ORDERS),
    "paid-unheard": Event(is_possible=_is_payable, happen=_pays(VISA, heard=False), where=IN_ORDERS),
    "mispaid": Event(is_possible=_is_payable, happen=_pay_another_amount, where=IN_ORDERS),
    "declined": Event(is_possible=_is_payable, happen=_pays(DECLINED), where=IN_ORDERS),
    "declined-out": Event(is_possible=_is_payable, happen=_pays(DECLINED, times=ATTEMPTS), where=IN_ORDERS),
    "action": Event(is_possible=_is_payable, happen=_pays(AUTHENTICATION), where=IN_ORDERS),
    "authenticated": Event(is_possible=_is(IntentStatus.REQUIRES_ACTION), happen=_authenticate, where=IN_ORDERS),
    "unauthenticated": Event(
        is_possible=_is(IntentStatus.REQUIRES_ACTION), happen=_fail_authentication, where=IN_ORDERS
    ),
    "slow": Event(is_possible=_is_payable, happen=_pays(DEBIT), where=IN_ORDERS),
    "settled": Event(is_possible=_is(IntentStatus.PROCESSING), happen=_arrives(paid=True), where=IN_ORDERS),
    "bounced": Event(is_possible=_is(IntentStatus.PROCESSING), happen=_arrives(paid=False), where=IN_ORDERS),
    "gone": Event(is_possible=_is_payable, happen=_cancel_at_stripe, where=IN_ORDERS),
    # Stripe's events on their way
    "webhook": Event(
        is_possible=lambda case: case.at_stripe.has_outstanding_events,
        happen=lambda case, flow: case.deliver(),
        where=IN_ORDERS,
    ),
    "doubled": Event(
        is_possible=lambda case: case.last_event_id is not None,
        happen=lambda case, flow: case.signal(case.last_event_id or ""),
    ),
    "stray": Event(is_possible=_always, happen=lambda case, flow: case.stray_signal()),
    # whoever wants the order cancelled
    "cancel": Event(is_possible=_always, happen=lambda case, flow: case.request_cancellation()),
    "raw": Event(is_possible=_always, happen=_cancel_workflow),
    # the shop's people
    "withdrawn": Event(is_possible=_always, happen=_withdraw),
    "retried": Event(is_possible=_always, happen=_retry, where=frozenset({Where.ATTENTION})),
    "unsold": Event(is_possible=_has_reservation, happen=_release_by_hand),
    # the worker, and the network
    CRASH: Event(is_possible=_always, happen=_die, where=frozenset({Where.AFTER, Where.WAIT, Where.ATTENTION})),
    "late-reserve": Event(is_possible=lambda case: case.calls["reserve"] > 0, happen=_repeats("reserve")),
    "late-open": Event(
        is_possible=lambda case: case.calls["open_payment"] > 0, happen=_repeats("open_payment"), where=IN_ORDERS
    ),
}
"""By name. A crash is the worker's death with the workflow task that it is at, replaced by one with an empty cache: at
a step's end the step has taken effect and the history does not know. Late requests had been thought lost."""
PRICE_EVENTS: Final[Mapping[str, Event]] = {
    "priced": Event(is_possible=_is_quoted, happen=_costs(1_000), where=IN_ORDERS),
    "freed": Event(is_possible=_is_quoted, happen=_costs(0), where=IN_ORDERS),
}
"""What the product costs from here on: of account to a quote that a dead worker's successor asks for again."""
