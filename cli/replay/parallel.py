"""Many histories at a time: one process replays one after the other, several have the machine's CPUs."""

from __future__ import annotations

import asyncio
import atexit
import os
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Final

from cli.replay.gate import Gate
from cli.replay.histories import Source
from cli.replay.verdict import Outcome
from runtime.settings import Settings
from runtime.temporal_codec import data_converter

BATCH: Final = 50
"""Histories that a process gets at a time, a few seconds' work; fewer than two batches start no process."""


async def replay_all(sources: AsyncIterator[Source], settings: Settings, *, jobs: int) -> AsyncIterator[Outcome]:
    """What becomes of each history, in the order in which they come; in up to so many processes.

    Raises:
        SettingsError: a key of the payloads is none.
    """
    converter = data_converter(settings)
    first = [batch async for batch in _batches(sources, most=2)]
    if jobs == 1 or len(first) < 2:
        async with Gate(converter) as gate:
            for batch in first:
                for source in batch:
                    yield await gate.replay(source)
            async for source in sources:
                yield await gate.replay(source)
        return
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_end_at_once) as pool:
        running: list[asyncio.Future[list[Outcome]]] = []
        try:
            running += [loop.run_in_executor(pool, _replay_batch, batch, settings) for batch in first]
            async for batch in _batches(sources):
                if len(running) > jobs:
                    for outcome in await running.pop(0):
                        yield outcome
                running.append(loop.run_in_executor(pool, _replay_batch, batch, settings))
            while running:
                for outcome in await running.pop(0):
                    yield outcome
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


async def _batches(sources: AsyncIterator[Source], *, most: int | None = None) -> AsyncIterator[list[Source]]:
    """The sources in batches, and no more than `most` of these."""
    batch: list[Source] = []
    count = 0
    async for source in sources:
        batch.append(source)
        if len(batch) == BATCH:
            yield batch
            batch, count = [], count + 1
            if count == most:
                return
    if batch:
        yield batch


def _end_at_once() -> None:
    """Temporal's SDK can abort a process whose interpreter is taken down."""
    atexit.register(os._exit, 0)


def _replay_batch(batch: Sequence[Source], settings: Settings) -> list[Outcome]:
    async def replay() -> list[Outcome]:
        async with Gate(data_converter(settings)) as gate:
            return [await gate.replay(source) for source in batch]

    return asyncio.run(replay())
