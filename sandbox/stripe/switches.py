"""What happens at Stripe's side or at a bank and no call of the API does, as switches under ``/_sandbox``.

``POST /_sandbox/refunds/{id}`` with ``{"status": "succeeded" | "failed" | "canceled" | "requires_action" | "pending",
"failure_reason": …}`` moves a refund on at once. It works on every card's refund. Those of two of Stripe's test cards
(https://docs.stripe.com/testing#refunds) also change by themselves, once, a few seconds after they were made by the
double's clock: ``pm_card_pendingRefund`` from pending to succeeded, ``pm_card_refundFail`` from succeeded to failed. A
switch takes the place of that change, which is kept on disk like all else.

A refund made in the dashboard is ``POST /v1/refunds`` with the secret key and without metadata: the account has no
other way to tell the two apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

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
