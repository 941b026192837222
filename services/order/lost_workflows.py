"""Finds open orders whose workflow was ended from outside, and asks for a person: nothing else would move them again.

A workflow of ours ends by itself only when its order is closed. One that was terminated, or that failed or timed out,
leaves its order where it stood; `ordersaga repair` starts it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError

from domain.saga import LOST_WORKFLOW_STEP, ORDER_SAGA, order_workflow_id
from runtime.database import Database, DatabaseAway
from services.order.repository import OrderRepository
from services.order.service import OrderService

log = structlog.stdlib.get_logger(__name__)

FIRST_LOOK: Final = timedelta(days=30)
"""Temporal keeps closed workflows for so long."""
_OVERLAP: Final = timedelta(minutes=2)
"""Temporal's list may show a closed workflow seconds late."""
_PATIENCE: Final = timedelta(seconds=10)


class LostRuns:
    """Looks for them again and again."""

    def __init__(self, database: Database, orders: OrderService, client: Client, *, interval: float) -> None:
        self._database = database
        self._orders = orders
        self._client = client
        self._interval = interval
        self._since = datetime.now(UTC) - FIRST_LOOK

    async def run(self) -> None:
        """Look every `interval` seconds until cancelled."""
        while True:
            try:
                await self.look()
            except (RPCError, RuntimeError, TimeoutError, DatabaseAway) as error:  # RuntimeError: cannot connect
                log.warning("lost_runs.postponed", error=str(error) or type(error).__name__)
            except Exception:  # the border of a loop that must go on
                log.exception("lost_runs.failed")
            await asyncio.sleep(self._interval)

    async def look(self) -> None:
        """Raise attention for every open order whose last run was ended from outside since the look before."""
        began = datetime.now(UTC)
        async with asyncio.timeout(_PATIENCE.total_seconds()):
            for order_id in await self._find_open(await self._find_ended()):
                if (ended := await self._ended_as(order_id)) is not None:
                    why = (
                        f"its workflow was ended from outside ({ended}); `ordersaga repair {order_id}` starts it again"
                    )
                    await self._orders.raise_attention(order_id=order_id, step=LOST_WORKFLOW_STEP, why=why)
        self._since = began - _OVERLAP

    async def _find_ended(self) -> list[str]:
        query = (
            f"WorkflowType = '{ORDER_SAGA}' AND ExecutionStatus IN ('Terminated', 'Failed', 'TimedOut')"
            f" AND CloseTime > '{self._since.isoformat()}'"
        )
        prefix = order_workflow_id("")
        return [run.id.removeprefix(prefix) async for run in self._client.list_workflows(query)]

    async def _find_open(self, order_ids: Sequence[str]) -> list[str]:
        if not order_ids:
            return []
        async with self._database.autocommit() as connection:
            return await OrderRepository(connection).find_open(order_ids)

    async def _ended_as(self, order_id: str) -> str | None:
        """How the order's last run ended; None while one runs, because it was repaired meanwhile."""
        status = (await self._client.get_workflow_handle(order_workflow_id(order_id)).describe()).status
        return None if status in (None, WorkflowExecutionStatus.RUNNING) else status.name.lower()
