"""Which of many orders have moved, for a gateway that follows them for its clients: one call for all of these."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from runtime.database import Database
from runtime.wakeups import Wakeups, wait_until
from services.order.repository import OrderRepository


class Moves:
    """Waits for orders to move. Nobody who waits has a connection to the database.

    Args:
        database: of the orders.
        wakeups: says of each that moves.
    """

    def __init__(self, database: Database, wakeups: Wakeups) -> None:
        self._database = database
        self._wakeups = wakeups
        self._is_ending = False

    async def await_moves(self, known: Mapping[str, int], *, wait: float) -> Mapping[str, int]:
        """The orders that are further than is known, by the numbers of their last transitions, once there are any.

        Args:
            known: orders and the numbers that the caller knows: so nothing is missed between two calls, whichever
                process has the second one.
            wait: seconds after which there may be none.
        """
        with self._wakeups.subscribe(*known) as moved:
            return await wait_until(
                lambda found: bool(found) or self._is_ending,
                lambda: self._find_moved(known),
                moved,
                wait=wait,
                check_first=True,
            )

    async def end_with(self, stopping: asyncio.Event) -> None:
        """Let nobody wait any more once the process stops: they ask another one."""
        await stopping.wait()
        self._is_ending = True
        self._wakeups.wake("")

    async def _find_moved(self, known: Mapping[str, int]) -> Mapping[str, int]:
        async with self._database.autocommit() as connection:
            return await OrderRepository(connection).find_moved(known)
