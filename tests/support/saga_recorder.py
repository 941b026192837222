"""Stands where the payment service reaches Temporal."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from temporalio.service import RPCStatusCode

from runtime.temporal import TemporalAway, TemporalRefused


@dataclass
class SagaRecorder:
    """Records of which workflows Temporal is asked; what it is asked in vain is not recorded.

    Attributes:
        orders: order and event of each signal to an order's saga, in turn.
        refunds: each refund whose saga had to run, and whether it was notified of a change.
        disputes: likewise.
        is_away: whether Temporal answers nobody.
        refused: ids of orders, refunds and disputes that Temporal refuses.
        followed_up: set when Temporal was asked for the saga of a refund.
    """

    orders: list[tuple[str, str]] = field(default_factory=list)
    refunds: list[tuple[str, bool]] = field(default_factory=list)
    disputes: list[tuple[str, bool]] = field(default_factory=list)
    is_away: bool = False
    refused: set[str] = field(default_factory=set)
    followed_up: asyncio.Event = field(default_factory=asyncio.Event)

    async def notify_order(self, *, order_id: str, event_id: str) -> None:
        """See `services.payment.sagas.Sagas`."""
        self._answer(order_id)
        self.orders.append((order_id, event_id))

    async def ensure_refund_saga(self, *, refund_id: str, order_id: str, changed: bool) -> None:
        """See `services.payment.sagas.Sagas`."""
        self._answer(refund_id)
        self.refunds.append((refund_id, changed))
        self.followed_up.set()

    async def ensure_dispute_case(self, *, dispute_id: str, order_id: str, changed: bool) -> None:
        """See `services.payment.sagas.Sagas`."""
        self._answer(dispute_id)
        self.disputes.append((dispute_id, changed))

    @property
    def notified_orders(self) -> set[str]:
        """The orders whose saga was notified."""
        return {order_id for order_id, _ in self.orders}

    def _answer(self, subject_id: str) -> None:
        if self.is_away:
            raise TemporalAway("Temporal: UNAVAILABLE")
        if subject_id in self.refused:
            raise TemporalRefused("Temporal: INVALID_ARGUMENT", status=RPCStatusCode.INVALID_ARGUMENT)
