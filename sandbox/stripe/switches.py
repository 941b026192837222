"""What happens at Stripe's side or at a bank and no call of the API does, as switches under ``/_sandbox``.

``POST /_sandbox/refunds/{id}`` with ``{"status": "succeeded" | "failed" | "canceled" | "requires_action" | "pending",
"failure_reason": …}`` moves a refund on at once. It works on every card's refund. Those of two of Stripe's test cards
(https://docs.stripe.com/testing#refunds) also change by themselves, once, a few seconds after they were made by the
double's clock: ``pm_card_pendingRefund`` from pending to succeeded, ``pm_card_refundFail`` from succeeded to failed. A
switch takes the place of that change, which is kept on disk like all else.

A refund made in the dashboard is ``POST /v1/refunds`` with the secret key and without metadata: the account has no
other way to tell the two apart.

``POST /_sandbox/charges/{id}/dispute`` disputes a charge that succeeded and was not disputed before. The body may be
empty, or hold ``status`` (``needs_response``, a chargeback, or ``warning_needs_response``, an inquiry), ``reason`` and
``amount``. What the cards ``pm_card_createDispute``, ``pm_card_createDisputeProductNotReceived`` and
``pm_card_createDisputeInquiry`` paid is disputed at once (https://docs.stripe.com/testing#disputes).
``POST /_sandbox/disputes/{id}`` with ``{"status": "under_review" | "won" | "lost"}`` moves a chargeback on, with
``{"status": "warning_under_review" | "warning_closed" | "needs_response"}`` an inquiry, the last to a chargeback.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeVar

import msgspec

from sandbox.stripe.disputes import DisputeReason, DisputeStatus
from sandbox.stripe.errors import misfit
from sandbox.stripe.events import EventRequest
from sandbox.stripe.ledger import Done, Ledger
from sandbox.stripe.objects import RefundFailure, RefundStatus, Resource
from sandbox.stripe.store import Store

Wish = TypeVar("Wish", bound=msgspec.Struct)


class RefundWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a refund is to become."""

    status: RefundStatus
    failure_reason: RefundFailure | None = None


class DisputeOpening(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a charge is disputed; by default as fraudulent, for what was not refunded of it."""

    status: DisputeStatus = DisputeStatus.NEEDS_RESPONSE
    reason: DisputeReason = DisputeReason.FRAUDULENT
    amount: Annotated[int, msgspec.Meta(ge=1)] | None = None


class DisputeWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a dispute is to become."""

    status: DisputeStatus


class Switches:
    """Does to objects what Stripe and banks do; `owed` is called when events may wait for delivery."""

    def __init__(self, store: Store, ledger: Ledger, owed: Callable[[], None]) -> None:
        self._store = store
        self._ledger = ledger
        self._owed = owed

    def change_refund(self, refund_id: str, body: bytes) -> Resource:
        """Move a refund on.

        Raises:
            ApiError: 404 when there is no such refund, 400 when it cannot become that or the body does not fit.
        """
        wish = _read(body, RefundWish)
        return self._do(lambda: self._ledger.change_refund(refund_id, wish.status, wish.failure_reason, EventRequest()))

    def open_dispute(self, charge_id: str, body: bytes) -> Resource:
        """Dispute a charge.

        Raises:
            ApiError: 404 when there is no such charge, 400 when it cannot be disputed or the body does not fit.
        """
        how = _read(body, DisputeOpening)
        return self._do(
            lambda: self._ledger.open_dispute(charge_id, how.status, how.reason, how.amount, EventRequest())
        )

    def change_dispute(self, dispute_id: str, body: bytes) -> Resource:
        """Move a dispute on.

        Raises:
            ApiError: 404 when there is no such dispute, 400 when it cannot become that or the body does not fit.
        """
        wish = _read(body, DisputeWish)
        return self._do(lambda: self._ledger.change_dispute(dispute_id, wish.status, EventRequest()))

    def _do(self, command: Callable[[], Done]) -> Resource:
        with self._store.transaction():
            done = command()
        self._owed()
        return done.resource


def _read(body: bytes, kind: type[Wish]) -> Wish:
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except msgspec.DecodeError as error:
        raise misfit(str(error)) from None
