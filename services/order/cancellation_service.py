"""The use case of cancelling an order: the wish is stored, its saga is told, and what comes of it is waited for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import structlog

from domain.orders import CancelledBy, OrderStatus
from runtime.caller import Caller, CallerRole
from runtime.database import Database
from runtime.fingerprint import fingerprint
from runtime.wakeups import Wakeups, wait_until
from services.order.cancellations import Cancellation, CancellationRepository, NewCancellation
from services.order.errors import IdempotencyKeyReused, OrderNotCancellable
from services.order.idempotency import IdempotencyRepository
from services.order.model import KnownKey, Order
from services.order.sagas import Sagas, SagaUnavailable
from services.order.service import OrderService

log = structlog.stdlib.get_logger(__name__)

CANCEL_ROUTE: Final = "POST /v1/orders/{id}/cancel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """The answer to a wish to cancel: the order is CANCELLED, or, `accepted_only`, may be soon."""

    order: Order
    accepted_only: bool
    replayed: bool


class CancelService:
    """Cancels orders."""

    def __init__(self, database: Database, orders: OrderService, sagas: Sagas, wakeups: Wakeups) -> None:
        self._database = database
        self._orders = orders
        self._sagas = sagas
        self._wakeups = wakeups

    async def cancel(self, order_id: str, *, caller: Caller, why: str, idempotency_key: str, wait: float) -> Cancelled:
        """Wish an order cancelled, once per caller and key, and wait up to `wait` seconds for it to close.

        The wish is stored before the saga is told of it, so that a sweep can tell it again.

        Raises:
            OrderNotFound: there is none that the caller may see.
            OrderNotCancellable: it is paid, refunded or not, or failed.
            IdempotencyKeyReused: the key stands for another request.
        """
        await self._orders.get(order_id, caller=caller)
        new = NewCancellation(
            order_id=order_id,
            user_id=caller.id,
            cancelled_by=CancelledBy.ADMIN if caller.role is CallerRole.ADMIN else CancelledBy.CUSTOMER,
            why=why,
            route=CANCEL_ROUTE,
            key=idempotency_key,
            request_hash=fingerprint({"order_id": order_id, "why": why}),
        )
        known, wish = await self._store(new)
        with self._wakeups.subscribe(order_id) as moved:
            if wish is not None:
                try:
                    await self._sagas.cancel(order_id, wish.cancelled_by)
                except SagaUnavailable as error:
                    log.warning("order.saga_not_told", order_id=order_id, error=str(error))
            order = await wait_until(
                lambda order: not order.status.is_open,
                lambda: self._orders.get(order_id, caller=caller),
                moved,
                wait=wait,
                check_first=True,
            )
        accepted_only = known is not None and known.accepted_only
        if order.status.is_open and not accepted_only:
            accepted_only = True
            async with self._database.autocommit() as connection:
                await IdempotencyRepository(connection).set_accepted_only(
                    user_id=new.user_id, route=new.route, key=new.key
                )
        if not accepted_only and order.status is not OrderStatus.CANCELLED:
            raise OrderNotCancellable(order_id, order.status)
        return Cancelled(order=order, accepted_only=accepted_only, replayed=known is not None)

    async def _store(self, new: NewCancellation) -> tuple[KnownKey | None, Cancellation | None]:
        """The key, if an earlier request took it; and the order's wish, unless the order had closed before any."""
        async with self._database.autocommit() as connection:
            cancellations = CancellationRepository(connection)
            known = None
            if not await cancellations.add(new):
                known = await IdempotencyRepository(connection).get(user_id=new.user_id, route=new.route, key=new.key)
                if known.request_hash != new.request_hash:
                    raise IdempotencyKeyReused(new.key)
            return known, await cancellations.find(new.order_id)
