"""Use cases of cancelling an order: the request is stored, its saga is asked, and what comes of it is waited for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog

from domain.orders import CancelledBy, OrderStatus
from runtime.caller import Caller, CallerRole
from runtime.clock import Clock
from runtime.database import Database
from runtime.due_work import Claimed
from runtime.idempotency import FirstRequest, IdempotencyKeys, IdempotentRequest
from runtime.refusal import Unavailable
from runtime.wakeups import Wakeups, wait_until
from services.order.cancellation_repository import CancellationRepository
from services.order.errors import OrderNotCancellable
from services.order.model import CancellationRequest, OpenCancellationRequest, Order, StoredCancellationRequest
from services.order.sagas import Sagas
from services.order.service import OrderService

log = structlog.stdlib.get_logger(__name__)

CANCEL_ROUTE: Final = "POST /v1/orders/{id}/cancel"
_CANCELLED_BY: Final = {
    CallerRole.GUEST: CancelledBy.CUSTOMER,
    CallerRole.CUSTOMER: CancelledBy.CUSTOMER,
    CallerRole.SUPPORT: CancelledBy.SUPPORT,
    CallerRole.ADMIN: CancelledBy.ADMIN,
    CallerRole.OPERATOR: CancelledBy.OPERATOR,
}
ASK_AFTER: Final = timedelta(seconds=5)
"""After so long the order has closed, or its saga may not know of the request."""
ASK_AGAIN_AFTER: Final = timedelta(seconds=60)
"""A saga that knows of it is asked again all the same: a run that was reset, or repaired, has forgotten it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """The answer to a request to cancel: the order is CANCELLED, or, `accepted_only`, may be soon."""

    order: Order
    accepted_only: bool
    replayed: bool


class CancellationService:
    """Cancels orders."""

    def __init__(
        self, database: Database, orders: OrderService, sagas: Sagas, wakeups: Wakeups, *, clock: Clock
    ) -> None:
        self._database = database
        self._orders = orders
        self._sagas = sagas
        self._wakeups = wakeups
        self._clock = clock

    async def cancel(
        self, reference: str, *, caller: Caller, note: str, idempotency_key: str, wait: float
    ) -> Cancelled:
        """Request that an order be cancelled, once per caller and key, and wait up to `wait` seconds for it to close.

        The order is named by its id or its number.

        The request is stored before the saga is asked, so that it can be asked again. A concurrent duplicate waits as
        long as the first request does.

        Raises:
            OrderNotFound: there is none that the caller may see.
            OrderNotCancellable: it is paid, refunded or not, or failed.
            IdempotencyKeyReused: the key stands for another request.
            IdempotencyKeyInUse: the first request waits for longer than this one's caller.
        """
        came_at = self._clock()
        order_id = (await self._orders.get(reference, caller=caller)).id
        request = IdempotentRequest.of(
            {"order_id": order_id, "why": note},  # so named when the first keys were stored
            user_id=caller.key,
            route=CANCEL_ROUTE,
            key=idempotency_key,
            wait=wait,
            at=came_at,
        )
        new = CancellationRequest(
            order_id=order_id,
            cancelled_by=_CANCELLED_BY[caller.role],
            user_id=None if caller.role is CallerRole.OPERATOR else caller.id,
            operator=caller.id if caller.role is CallerRole.OPERATOR else None,
            note=note,
        )
        first, open_request = await self._store(new, request)
        with self._wakeups.subscribe(order_id) as moved:
            problem = None if open_request is None else await self._ask(open_request)
            order = await wait_until(
                lambda order: order.closed_at is not None,
                lambda: self._orders.get(order_id, caller=caller),
                moved,
                wait=first.seconds_to_wait(wait, at=self._clock()),
                check_first=True,
            )
        if problem is not None and order.closed_at is None:
            log.warning("order.saga_not_asked_to_cancel", order_id=order_id, problem=problem)
        accepted_only = not first.answered_with(order.closed_at, at=self._clock())
        if not accepted_only and order.status is not OrderStatus.CANCELLED:
            raise OrderNotCancellable(order_id, order.status)
        return Cancelled(order=order, accepted_only=accepted_only, replayed=first.replayed)

    async def find(self, order_id: str) -> StoredCancellationRequest | None:
        """The request to cancel the order, if there is one."""
        async with self._database.autocommit() as connection:
            return await CancellationRepository(connection).find(order_id)

    async def ask_due(self, claimed: Claimed[OpenCancellationRequest]) -> timedelta | None:
        """Ask the saga once more to cancel its order; or settle the request of an order that has closed."""
        request = claimed.item
        if not request.status.is_open:
            async with self._database.autocommit() as connection:
                await CancellationRepository(connection).settle(request.order_id)
            return None
        await self._sagas.cancel(request.order_id, request.cancelled_by)
        return ASK_AGAIN_AFTER

    async def _ask(self, request: CancellationRequest) -> str | None:
        """Ask the saga to cancel its order; why it could not be asked, which is mostly that it has just closed."""
        try:
            await self._sagas.cancel(request.order_id, request.cancelled_by)
        except Unavailable as problem:
            return str(problem)
        return None

    async def _store(
        self, new: CancellationRequest, request: IdempotentRequest
    ) -> tuple[FirstRequest, CancellationRequest | None]:
        """The request that claimed the key, this one or an earlier one; and what the order's saga is to be asked."""
        async with self._database.autocommit() as connection:
            cancellations = CancellationRepository(connection)
            if await cancellations.add(new, request, ask_after=ASK_AFTER):
                first = request.as_first(new.order_id)
            else:
                first = await IdempotencyKeys(connection).get_first(request)
            return first, await cancellations.find_open(new.order_id)
