"""Many histories at a time: one process replays one after the other, several have the machine's CPUs."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from cli.exiting import run_and_exit
from cli.replay.gate import Gate
from cli.replay.histories import Source
from cli.replay.verdict import Outcome
from runtime.settings import Settings
from runtime.temporal_codec import data_converter

BATCH: Final = 100
"""Histories that a process replays, in a few seconds; its start takes one. No more than these start no process."""
_ROOT: Final = Path(__file__).parents[2]


async def replay_all(sources: AsyncIterator[Source], settings: Settings, *, jobs: int) -> AsyncIterator[Outcome]:
    """What becomes of each history, in the order in which they come; in up to so many processes.

    Raises:
        SettingsError: a key of the payloads is none.
    """
    batch = [source async for source in _some(sources)]
    if jobs == 1 or len(batch) < BATCH:
        async with Gate(data_converter(settings)) as gate:
            for source in batch:
                yield await gate.replay(source)
            async for source in sources:
                yield await gate.replay(source)
        return
    running: list[asyncio.Task[list[Outcome]]] = []
    try:
        while batch or running:
            if batch:
                running.append(asyncio.create_task(_replay_elsewhere(batch)))
                batch = [source async for source in _some(sources)]
            if len(running) == jobs or not batch:
                for outcome in await running.pop(0):
                    yield outcome
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _some(sources: AsyncIterator[Source]) -> AsyncIterator[Source]:
    """The next `BATCH` of them."""
    for _ in range(BATCH):
        source = await anext(sources, None)
        if source is None:
            return
        yield source


async def _replay_elsewhere(batch: Sequence[Source]) -> list[Outcome]:
    """Replay a batch in a process of its own, on the same code and settings."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli.replay.parallel"), cwd=_ROOT, stdin=PIPE, stdout=PIPE
    )
    try:
        answer, _ = await process.communicate(msgspec.msgpack.encode(batch))
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        raise RuntimeError(f"a process that replays histories ended with {process.returncode}")
    return msgspec.msgpack.decode(answer, type=list[Outcome])


async def _replay_batch() -> None:
    batch = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=list[Source])
    async with Gate(data_converter(Settings.load())) as gate:
        outcomes = [await gate.replay(source) for source in batch]
    sys.stdout.buffer.write(msgspec.msgpack.encode(outcomes))


if __name__ == "__main__":
    run_and_exit(lambda: asyncio.run(_replay_batch()))
