"""Starting sagas, and telling them of cancellations: at once, and by a sweep for those that this missed."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final, Protocol

import structlog
from temporalio.client import Client, WorkflowUpdateRPCTimeoutOrCancelledError, WorkflowUpdateStage
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from domain.orders import CancelledBy, OrderStatus
from domain.saga import (
    CANCEL_UPDATE,
    CUSTOMER_ID_ATTRIBUTE,
    ORDER_SAGA,
    ORDER_STATUS_ATTRIBUTE,
    CancelRequest,
    OrderInput,
    SagaPolicy,
    order_workflow_id,
)
from runtime.database import Database
from services.order.cancellations import CancellationRepository
from services.order.model import saga_input
from services.order.repository import OrderRepository

log = structlog.stdlib.get_logger(__name__)

START_TIMEOUT: Final = timedelta(seconds=2)
UNSTARTED_AFTER: Final = timedelta(seconds=5)
"""An order this old in RECEIVED is worth a look: nearly all have left it, and all have had their own start."""
SWEEP_LIMIT: Final = 100


class SagaUnavailable(Exception):
    """Temporal could not be asked; the sweep will."""


class Sagas(Protocol):
    """The sagas of orders, one each."""

    async def start(self, order: OrderInput) -> None:
        """Start it, unless it was started before.

        Raises:
            SagaUnavailable: whether it started is not known.
        """

    async def cancel(self, order_id: str, cancelled_by: CancelledBy) -> None:
        """Tell it that the order shall be cancelled; returns once it knows. A repeat changes nothing.

        Raises:
            SagaUnavailable: it may not know: no answer, or it does not run.
        """


class TemporalSagas:
    """`OrderSaga` on Temporal."""

    def __init__(self, client: Client, *, task_queue: str) -> None:
        self._client = client
        self._task_queue = task_queue

    async def start(self, order: OrderInput) -> None:
        """See `Sagas`: one workflow id per order and no reuse make a second start harmless."""
        await self._start(order, WorkflowIDReusePolicy.REJECT_DUPLICATE)

    async def restart(self, order: OrderInput) -> bool:
        """Start it again after its workflow was ended from outside; false when it runs, or ended by itself.

        Raises:
            SagaUnavailable: whether it started is not known.
        """
        return await self._start(order, WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY)

    async def _start(self, order: OrderInput, reuse: WorkflowIDReusePolicy) -> bool:
        try:
            # The limit of the call does not limit how long a lazy client connects.
            async with asyncio.timeout(START_TIMEOUT.total_seconds() + 1):
                await self._client.start_workflow(
                    ORDER_SAGA,
                    order,
                    id=order_workflow_id(order.order_id),
                    task_queue=self._task_queue,
                    id_reuse_policy=reuse,
                    search_attributes=_first_attributes(order),
                    static_summary=_summary(order),
                    rpc_timeout=START_TIMEOUT,
                )
        except WorkflowAlreadyStartedError:
            return False
        except (RPCError, RuntimeError, TimeoutError) as error:  # RuntimeError: a lazy client could not connect
            raise SagaUnavailable(str(error) or "no answer") from error
        return True

    async def cancel(self, order_id: str, cancelled_by: CancelledBy) -> None:
        """See `Sagas`: one update id per order makes a repeat harmless."""
        workflow = self._client.get_workflow_handle(order_workflow_id(order_id))
        try:
            async with asyncio.timeout(START_TIMEOUT.total_seconds() + 1):
                await workflow.start_update(
                    CANCEL_UPDATE,
                    CancelRequest(cancelled_by=cancelled_by),
                    id=CANCEL_UPDATE,
                    wait_for_stage=WorkflowUpdateStage.ACCEPTED,
                    rpc_timeout=START_TIMEOUT,
                )
        except (RPCError, WorkflowUpdateRPCTimeoutOrCancelledError, RuntimeError, TimeoutError) as error:
            raise SagaUnavailable(str(error) or "no answer") from error


class SagaSweep:
    """Starts the saga of every accepted order that has none, and tells sagas of cancellations that missed them.

    Accepted means run, and a wish that was stored is heard.
    """

    def __init__(self, database: Database, sagas: Sagas, *, policy: SagaPolicy, interval: float) -> None:
        self._database = database
        self._sagas = sagas
        self._policy = policy
        self._interval = interval

    async def run(self) -> None:
        """Sweep every `interval` seconds until cancelled."""
        while True:
            try:
                await self.sweep()
                await self.sweep_cancellations()
            except Exception:  # the border of a loop that must go on: a database away now is back at the next round
                log.exception("sagas.sweep_failed")
            await asyncio.sleep(self._interval)

    async def sweep(self, *, older_than: timedelta = UNSTARTED_AFTER) -> int:
        """Make sure that orders RECEIVED for so long have their saga; answers how many now do."""
        async with self._database.autocommit() as connection:
            unstarted = await OrderRepository(connection).find_unstarted(older_than=older_than, limit=SWEEP_LIMIT)
        for done, (order_id, new) in enumerate(unstarted):
            try:
                await self._sagas.start(saga_input(order_id, new, self._policy))
            except SagaUnavailable as error:
                log.warning("sagas.unavailable", waiting=len(unstarted) - done, error=str(error))
                return done
            async with self._database.autocommit() as connection:
                await OrderRepository(connection).set_saga_seen(order_id)
        return len(unstarted)

    async def sweep_cancellations(self) -> None:
        """Tell the saga of every cancellation whose order is still open."""
        async with self._database.autocommit() as connection:
            repository = CancellationRepository(connection)
            await repository.settle()
            waiting = await repository.find_open(limit=SWEEP_LIMIT)
        for cancellation in waiting:
            try:
                await self._sagas.cancel(cancellation.order_id, cancellation.cancelled_by)
            except SagaUnavailable as error:
                log.warning("sagas.not_cancelled", order_id=cancellation.order_id, error=str(error))


def _first_attributes(order: OrderInput) -> TypedSearchAttributes:
    return TypedSearchAttributes(
        [
            SearchAttributePair(SearchAttributeKey.for_keyword(ORDER_STATUS_ATTRIBUTE), OrderStatus.RECEIVED.value),
            SearchAttributePair(SearchAttributeKey.for_keyword(CUSTOMER_ID_ATTRIBUTE), order.user_id),
        ]
    )


def _summary(order: OrderInput) -> str:
    pieces = sum(line.quantity for line in order.lines)
    return f"pieces: {pieces}, products: {len(order.lines)}, currency: {order.currency}"
