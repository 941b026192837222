"""What a process does once all of its components have begun their work."""

from __future__ import annotations

import asyncio
import gc

from runtime.process import Lifecycle, _notify_when_ready


async def test_no_collection_looks_again_at_what_the_start_made() -> None:
    lifecycles = [Lifecycle(asyncio.Event()) for _ in range(2)]
    frozen = gc.get_freeze_count()
    waiting = asyncio.create_task(_notify_when_ready(lifecycles))
    try:
        lifecycles[0].ready()
        await asyncio.sleep(0)
        assert gc.get_freeze_count() == frozen

        lifecycles[1].ready()
        await waiting
        assert gc.get_freeze_count() > frozen
    finally:
        gc.unfreeze()
