"""Reading an order once it is where somebody waits for it to be."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from services.order.model import Order


async def read_once(
    is_over: Callable[[Order], bool],
    read: Callable[[], Awaitable[Order]],
    moved: asyncio.Event,
    *,
    wait: float,
    look_first: bool,
) -> Order:
    """The order once `is_over` says so, or as it is after `wait` seconds.

    Args:
        is_over: whether the wait has an end.
        read: reads the order as it stands.
        moved: set whenever the order may have moved, from before the wait on.
        wait: seconds.
        look_first: whether the order may be there already; else the look before the first wake-up is spared.
    """
    deadline = asyncio.get_running_loop().time() + wait
    if not look_first:
        await _wait_until(deadline, moved)
    while True:
        moved.clear()
        order = await read()
        if is_over(order) or asyncio.get_running_loop().time() >= deadline:
            return order
        await _wait_until(deadline, moved)


async def _wait_until(deadline: float, moved: asyncio.Event) -> None:
    """Until it is set, or in vain: the wake-up may have been lost."""
    with suppress(TimeoutError):
        async with asyncio.timeout_at(deadline):
            await moved.wait()
