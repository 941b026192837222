"""Starts sagas again whose workflows were ended from outside, in a shell beside the order service."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from domain.ids import is_id
from runtime.refusal import Unavailable
from runtime.settings import Settings
from services.order.bootstrap import bootstrap
from services.order.errors import OrderNotFound
from services.order.lost_workflows import LostWorkflows


async def repair(settings: Settings, order_ids: Sequence[str]) -> bool:
    """Repair these orders, or, without any, all that need it; says what came of each.

    Returns:
        Whether every order now has a saga that runs, or one that ended by itself.
    """
    async with bootstrap(settings) as order:
        workflows = order.lost_workflows
        if not order_ids:
            order_ids = await workflows.find()
            if not order_ids:
                print("No order has lost its workflow.")
        results = [await _repair(workflows, order_id) for order_id in order_ids]
        return all(results)


async def _repair(workflows: LostWorkflows, order_id: str) -> bool:
    try:
        if not is_id(order_id):
            raise OrderNotFound(order_id)
        started = await workflows.repair(order_id)
    except OrderNotFound:
        print(f"{order_id}: there is no such order", file=sys.stderr)
        return False
    except Unavailable as problem:
        print(f"{order_id}: not repaired: {problem}", file=sys.stderr)
        return False
    print(f"{order_id}: {'its saga runs again' if started else 'its saga runs, or ended by itself: nothing to repair'}")
    return True
