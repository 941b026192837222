"""Ways to break a service, each in a piece of its real code; inside such a context it is broken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from itertools import count
from typing import Any
from unittest.mock import patch

from domain.ids import new_id
from domain.payments import PaymentStatus
from domain.refunds import RefundStatus
from services.inventory.service import InventoryService
from services.payment.payments.model import Change, Payment
from services.payment.payments.service import PaymentService
from services.payment.refunds import decisions
from services.payment.stripe.client import StripeClient
from services.payment.stripe.errors import StripeRefused, StripeUnexpectedState
from services.payment.stripe.model import FailedCharge, Intent, StripeRefund
from services.payment.webhooks.model import ProviderEvent
from services.payment.webhooks.processing import EventProcessor


@contextmanager
def no_tombstone() -> Iterator[None]:
    """To undo what was never done leaves nothing, so that it may still come late."""
    void, release = PaymentService.void, InventoryService.release

    async def void_if_there(self: PaymentService, order_id: str) -> None:
        if await self._store.find(intent_id=None, order_id=order_id) is not None:
            await void(self, order_id)

    async def release_if_there(self: InventoryService, order_id: str) -> None:
        async with self._database.autocommit() as connection:
            statement = "SELECT status FROM reservations WHERE order_id = %(order_id)s"
            is_there = await connection.fetch_value(statement, order_id=order_id)
        if is_there:
            await release(self, order_id)

    with (
        patch.object(PaymentService, "void", void_if_there),
        patch.object(InventoryService, "release", release_if_there),
    ):
        yield


@contextmanager
def sold_is_released() -> Iterator[None]:
    """A release after the commit is not refused."""
    release = InventoryService.release

    async def release_all(self: InventoryService, order_id: str) -> None:
        async with self._database.autocommit() as connection:
            released = await connection.execute(
                """
                UPDATE reservations SET status = 'RELEASED'
                 WHERE order_id = %(order_id)s AND status = 'COMMITTED'
                """,
                order_id=order_id,
            )
        if not released:
            await release(self, order_id)

    with patch.object(InventoryService, "release", release_all):
        yield


@contextmanager
def refunded_by_the_inbox_too() -> Iterator[None]:
    """The inbox gives late money back under a key of its own, beside the refund's saga."""
    catch_up = EventProcessor._catch_up

    async def catch_up_and_refund(self: EventProcessor, payment: Payment, event: ProviderEvent) -> None:
        await catch_up(self, payment, event)
        current = await self._store.get(payment.order_id)
        if not current.voided or not current.amount_received or current.intent_id is None:
            return
        with suppress(StripeRefused):
            await self._refunds._stripe.create_refund(
                refund_id=new_id(),
                order_id=current.order_id,
                intent_id=current.intent_id,
                amount=current.amount_received,
                currency=current.settled_currency,
                key=f"inbox:{current.id}",
            )

    with patch.object(EventProcessor, "_catch_up", catch_up_and_refund):
        yield


@contextmanager
def attempts_counted_at_each_look() -> Iterator[None]:
    """A failed charge counts each time that it is seen."""
    look, looks = StripeClient.list_failed_charges, count(1)

    async def see_others(self: StripeClient, intent_id: str) -> list[FailedCharge]:
        number = next(looks)
        return [
            FailedCharge(charge_id=f"{charge.charge_id}-{number}", decline_code=charge.decline_code, at=charge.at)
            for charge in await look(self, intent_id)
        ]

    with patch.object(StripeClient, "list_failed_charges", see_others):
        yield


@contextmanager
def refused_cancel_taken_for_done() -> Iterator[None]:
    """An intent that Stripe does not cancel is taken for cancelled, without a look at what it came to."""
    cancel = StripeClient.cancel_intent

    async def cancel_somehow(self: StripeClient, intent_id: str, *, key: str) -> Intent:
        try:
            return await cancel(self, intent_id, key=key)
        except StripeUnexpectedState:
            return replace(await self.get_intent(intent_id), status=PaymentStatus.CANCELLED)

    with patch.object(StripeClient, "cancel_intent", cancel_somehow):
        yield


@contextmanager
def new_key_without_a_look() -> Iterator[None]:
    """A refund is made under a new key each time, without a look whether Stripe has it."""
    create = StripeClient.create_refund

    async def create_under_a_new_key(self: StripeClient, **refund: Any) -> StripeRefund:
        return await create(self, **{**refund, "key": new_id()})

    async def look_away(self: StripeClient, intent_id: str) -> list[StripeRefund]:
        return []

    with (
        patch.object(StripeClient, "create_refund", create_under_a_new_key),
        patch.object(StripeClient, "list_refunds", look_away),
    ):
        yield


@contextmanager
def made_while_a_bank_decides() -> Iterator[None]:
    """Stripe is asked for a refund, whatever is known of a chargeback."""
    with patch.object(decisions, "check_undisputed", lambda payment: None):
        yield


@contextmanager
def replaced_at_each_request() -> Iterator[None]:
    """One more refund is made in the place of a failed one each time that it is asked for."""
    replace_once = decisions.replace_failed_refund

    def replace_again(payment: Payment, refund_id: str, *, at: datetime) -> Change | None:
        refund = payment.get_refund(refund_id)
        if refund.status is RefundStatus.REPLACED:
            payment = payment.with_refund(refund.model_copy(update={"status": RefundStatus.FAILED}))
        return replace_once(payment, refund_id, at=at)

    with patch.object(decisions, "replace_failed_refund", replace_again):
        yield
