"""Open orders whose workflow was ended from outside: nothing else would move them again, so they need a person.

A workflow of ours ends by itself only when its order has closed. One that was terminated, or that failed or timed out,
leaves its order where it stood; `ordersaga repair` starts it again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Final

import structlog
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus

from domain.saga import LOST_WORKFLOW_STEP, ORDER_SAGA, SagaPolicy, order_workflow_id
from runtime.clock import Clock
from runtime.database import Database
from runtime.temporal import RPC_TIMEOUT, ask_temporal
from services.order.attention_repository import AttentionRepository
from services.order.errors import OrderNotFound
from services.order.repository import OrderRepository
from services.order.sagas import Sagas
from services.order.service import OrderService

log = structlog.stdlib.get_logger(__name__)

LOOK_BACK: Final = timedelta(days=30)
"""Temporal keeps closed workflows for so long."""
_OVERLAP: Final = timedelta(minutes=2)
"""Temporal's list may show a closed workflow seconds late."""
PAGE: Final = 500
"""Workflows that are read from the list at once."""
_ENDED_FROM_OUTSIDE: Final = ("Terminated", "Failed", "TimedOut")


class LostWorkflows:
    """Finds them, and starts them again."""

    def __init__(
        self,
        database: Database,
        orders: OrderService,
        sagas: Sagas,
        client: Client,
        *,
        policy: SagaPolicy,
        clock: Clock,
    ) -> None:
        self._database = database
        self._orders = orders
        self._sagas = sagas
        self._client = client
        self._policy = policy
        self._clock = clock
        self._since = clock() - LOOK_BACK

    async def look(self) -> None:
        """Raise attention for every open order whose last run was ended from outside since the look before.

        Raises:
            Unavailable: Temporal or the database does not answer; the next look begins where this one did.
        """
        began = self._clock()
        async for order_ids in self._find_ended():
            for order_id in await self._find_open(order_ids):
                if (ended := await self._ended_as(order_id)) is not None:
                    cause = (
                        f"its workflow was ended from outside ({ended}); `ordersaga repair {order_id}` starts it again"
                    )
                    await self._orders.raise_attention(order_id=order_id, step=LOST_WORKFLOW_STEP, cause=cause)
        self._since = began - _OVERLAP

    async def find(self) -> list[str]:
        """The orders that wait for somebody to repair them, the longest wait first."""
        async with self._database.autocommit() as connection:
            return await AttentionRepository(connection).find_orders(step=LOST_WORKFLOW_STEP)

    async def repair(self, order_id: str) -> bool:
        """Start the order's saga again; false when it runs, or ended by itself, so that nothing is to be repaired.

        Raises:
            OrderNotFound: there is no such order.
            Unavailable: whether it started is not known; repeat.
        """
        async with self._database.autocommit() as connection:
            order = await OrderRepository(connection).find_accepted(order_id)
        if order is None:
            raise OrderNotFound(order_id)
        waited = self._clock() - order.created_at
        started = await self._sagas.restart(order.saga_input(order.id, self._policy, waited=waited, is_repair=True))
        await self._orders.clear_attention(order_id=order_id, step=LOST_WORKFLOW_STEP)
        return started

    async def _find_ended(self) -> AsyncIterator[Sequence[str]]:
        """The orders of the workflows that were ended from outside, a page at a time."""
        statuses = ", ".join(f"'{status}'" for status in _ENDED_FROM_OUTSIDE)
        pages = self._client.list_workflows(
            f"WorkflowType = '{ORDER_SAGA}' AND ExecutionStatus IN ({statuses})"
            f" AND CloseTime > '{self._since.isoformat()}'",
            page_size=PAGE,
            rpc_timeout=RPC_TIMEOUT,
        )
        while pages.current_page is None or pages.next_page_token:
            await ask_temporal(pages.fetch_next_page)
            yield [_order_of(workflow) for workflow in pages.current_page or ()]

    async def _find_open(self, order_ids: Sequence[str]) -> list[str]:
        if not order_ids:
            return []
        async with self._database.autocommit() as connection:
            return await OrderRepository(connection).find_open(order_ids)

    async def _ended_as(self, order_id: str) -> str | None:
        """How the order's last run ended; None while one runs, because it was repaired meanwhile."""
        workflow = self._client.get_workflow_handle(order_workflow_id(order_id))
        status = (await ask_temporal(lambda: workflow.describe(rpc_timeout=RPC_TIMEOUT))).status
        return None if status in (None, WorkflowExecutionStatus.RUNNING) else status.name.lower()


def _order_of(workflow: WorkflowExecution) -> str:
    return workflow.id.removeprefix(order_workflow_id(""))
