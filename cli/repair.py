"""Starts sagas again whose workflows were ended from outside, in a shell beside the order service."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from domain.ids import is_id
from domain.saga import LOST_WORKFLOW_STEP
from runtime.database import Database
from runtime.settings import Settings
from runtime.temporal import connect_temporal
from services.order.bootstrap import saga_policy
from services.order.model import saga_input
from services.order.repository import OrderRepository
from services.order.sagas import SagaUnavailable, TemporalSagas


async def repair(settings: Settings, order_ids: Sequence[str]) -> bool:
    """Repair these orders, or, without any, all that need it; says what came of each.

    Returns:
        Whether every order now has a saga that runs, or one that ended by itself.
    """
    database = Database(settings.required("order_dsn"), pool_size=1)
    sagas = TemporalSagas(await connect_temporal(settings), task_queue=settings.temporal_task_queue)
    try:
        if not order_ids:
            async with database.autocommit() as connection:
                order_ids = await OrderRepository(connection).find_attention(step=LOST_WORKFLOW_STEP)
            if not order_ids:
                print("No order has lost its workflow.")
        results = [await _repair(database, sagas, settings, order_id) for order_id in order_ids]
        return all(results)
    finally:
        await database.close()


async def _repair(database: Database, sagas: TemporalSagas, settings: Settings, order_id: str) -> bool:
    new = None
    if is_id(order_id):
        async with database.autocommit() as connection:
            new = await OrderRepository(connection).find_new_order(order_id)
    if new is None:
        print(f"{order_id}: there is no such order", file=sys.stderr)
        return False
    try:
        started = await sagas.restart(saga_input(order_id, new, saga_policy(settings), is_repair=True))
    except SagaUnavailable as error:
        print(f"{order_id}: Temporal does not answer: {error}", file=sys.stderr)
        return False
    async with database.autocommit() as connection:
        await OrderRepository(connection).clear_attention(order_id=order_id, step=LOST_WORKFLOW_STEP)
    print(f"{order_id}: {'its saga runs again' if started else 'its saga runs, or ended by itself: nothing to repair'}")
    return True
