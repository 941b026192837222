"""Orders that are paid, refunded and disputed in saga tests, and waiting for what becomes of them.

Refunds and disputes go on in workflows of their own, which no call waits for: so what they lead to is waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from temporalio.client import WorkflowHandle

from domain.ids import new_id
from domain.orders import OrderLine
from domain.refunds import RefundStatus
from domain.saga import OrderResult, order_workflow_id, refund_workflow_id
from runtime.database import Database
from services.payment.payments.model import Payment, Refund
from services.payment.refunds.model import NewRefund, RequestedRefund
from tests.support.rows import fetch_rows
from tests.support.saga_shop import Shop

Run = WorkflowHandle[Any, OrderResult]

VISA = "pm_card_visa"
PENDING = "pm_card_pendingRefund"
LATER_FAILS = "pm_card_refundFail"
DISPUTED = "pm_card_createDispute"


def order_id_of(run: Run) -> str:
    """The order that the saga is about."""
    return run.id.removeprefix(order_workflow_id(""))


def refund_saga(shop: Shop, refund: Refund) -> WorkflowHandle[Any, Any]:
    """The refund's workflow."""
    return shop.env.client.get_workflow_handle(refund_workflow_id(refund.id))


async def paid(shop: Shop, product: str, quantity: int = 3, *, card: str = VISA) -> Run:
    """An order that is PAID.

    No time is skipped meanwhile: a dispute's workflow that is parked by then would time out.
    """
    run = await shop.place((product, quantity), payment_method=card, wait=10)
    await shop.deliver_events()
    await order_becomes(shop, run, "PAID")
    return run


async def request_refund(
    shop: Shop, run: Run, amount: int | None = None, *restock: OrderLine, wait: float = 10
) -> RequestedRefund:
    """Request a refund, of everything without an amount, and wait for what becomes of it."""
    order = await shop.order(run)
    new = NewRefund(
        order_id=order.id,
        amount=amount,
        restock=restock,
        ordered=tuple(OrderLine(item.product_id, item.quantity) for item in order.items),
        requested_by=new_id(),
        note="",
    )
    return await shop.refunds.request(new, idempotency_key=new_id(), wait=wait)


async def payment_of(shop: Shop, run: Run) -> Payment:
    """The order's payment as it is stored."""
    return await shop.payments.check(order_id_of(run), refresh=False)


async def statuses(shop: Shop, run: Run) -> list[str]:
    """All that the order has been."""
    return [row.to_status for row in (await shop.order(run)).transitions]


async def wait_until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Return once the condition holds.

    Raises:
        TimeoutError: it does not within two minutes.
    """
    async with asyncio.timeout(120):
        while not await condition():  # noqa: ASYNC110 - workflows bring it about, and notify nobody
            await asyncio.sleep(0.05)


async def made_at_stripe(shop: Shop, run: Run, refund: Refund) -> str:
    """Stripe's id of a refund, once its saga has made it there."""

    async def find() -> str | None:
        return (await payment_of(shop, run)).get_refund(refund.id).stripe_refund_id

    async def is_made() -> bool:
        return await find() is not None

    await wait_until(is_made)
    return await find() or ""


async def refunds_become(shop: Shop, run: Run, *expected: RefundStatus) -> list[Refund]:
    """The order's refunds once they have these statuses, in any order, and their sagas have nothing left to do."""

    async def condition() -> bool:
        refunds = (await payment_of(shop, run)).refunds
        return sorted(refund.status for refund in refunds) == sorted(expected) and all(
            refund.status.has_failed or not refund.saga_open for refund in refunds
        )

    await wait_until(condition)
    return list((await payment_of(shop, run)).refunds)


async def order_becomes(shop: Shop, run: Run, status: str) -> None:
    """Return once the order has the status."""

    async def condition() -> bool:
        return (await shop.order(run)).status == status

    await wait_until(condition)


async def attention_is(shop: Shop, run: Run, *steps: str) -> None:
    """Return once these steps hold attention, and no others."""

    async def condition() -> bool:
        return {step.partition(" ")[0] for step, _ in await _open_attention(shop, run)} == set(steps)

    await wait_until(condition)


async def attention_notes(shop: Shop, run: Run) -> list[str]:
    """What people are told of the steps that hold attention."""
    return [note for _, note in await _open_attention(shop, run)]


async def _open_attention(shop: Shop, run: Run) -> list[tuple[str, str]]:
    database = Database(shop.databases["order"], pool_size=1)
    found = await fetch_rows(
        database,
        "SELECT step, cause FROM concerns WHERE order_id = %(id)s AND cleared_at IS NULL",
        id=order_id_of(run),
    )
    await database.close()
    return found
