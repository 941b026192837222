"""Stands where the order service reaches Temporal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from domain.orders import CancelledBy
from domain.saga import OrderInput
from runtime.temporal import TemporalAway
from services.order.sagas import Outcome


class RecordedSagas:
    """Records what the sagas of orders are asked for, and does with it what a test says: nothing, unless it does."""

    def __init__(self) -> None:
        self.started: list[str] = []
        """The orders whose saga was to start, in turn."""
        self.cancelled: list[tuple[str, CancelledBy]] = []
        """The orders whose saga was asked to cancel them, and for whom, in turn."""
        self.decisions: list[tuple[str, str, str]] = []
        """What operators decided, about which workflow, and who they were, in turn."""
        self.is_away = False
        """Whether Temporal answers nobody; what it is asked then is not recorded."""
        self.waiting = 0
        """How many wait for a worker."""
        self.on_start: Callable[[OrderInput], Awaitable[None]] | None = None
        self.on_cancel: Callable[[str, CancelledBy], Awaitable[None]] | None = None
        self._starts: asyncio.Queue[str] = asyncio.Queue()
        self._cancellations: asyncio.Queue[str] = asyncio.Queue()

    async def start(self, order: OrderInput) -> None:
        """See `services.order.sagas.Sagas`."""
        self._answer()
        self.started.append(order.order_id)
        self._starts.put_nowait(order.order_id)
        if self.on_start is not None:
            await self.on_start(order)

    async def restart(self, order: OrderInput, *, is_open: bool) -> bool:
        """See `services.order.sagas.Sagas`."""
        await self.start(order)
        return True

    async def count_waiting(self) -> int:
        """See `services.order.sagas.Sagas`."""
        self._answer()
        return self.waiting

    async def retry(self, workflow_id: str, *, actor: str, note: str) -> Outcome:
        """See `services.order.sagas.Sagas`."""
        return self._decide("retry", workflow_id, actor)

    async def resolve(self, workflow_id: str, *, actor: str, note: str) -> Outcome:
        """See `services.order.sagas.Sagas`."""
        return self._decide("resolve", workflow_id, actor)

    async def cancel(self, order_id: str, cancelled_by: CancelledBy) -> None:
        """See `services.order.sagas.Sagas`."""
        self._answer()
        self.cancelled.append((order_id, cancelled_by))
        self._cancellations.put_nowait(order_id)
        if self.on_cancel is not None:
            await self.on_cancel(order_id, cancelled_by)

    async def next_start(self) -> str:
        """The order whose saga is started next, or was since this was last asked."""
        return await self._starts.get()

    async def next_cancellation(self) -> str:
        """The order whose saga is asked next to cancel it, or was since this was last asked."""
        return await self._cancellations.get()

    def _decide(self, decision: str, workflow_id: str, actor: str) -> Outcome:
        self._answer()
        self.decisions.append((decision, workflow_id, actor))
        return Outcome(text="done", succeeded=True)

    def _answer(self) -> None:
        if self.is_away:
            raise TemporalAway("no Temporal in this test")
