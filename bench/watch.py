"""An independent consumer of order-events: the bench believes that an order is PAID when Kafka says so."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaConsumer, TopicPartition

from domain.events import ORDER_EVENTS, PARTITIONS

CLOSED = frozenset({"order.paid", "order.failed", "order.cancelled"})


class OrderWatch:
    """Sees orders close. Use as an async context manager."""

    def __init__(self, bootstrap: str) -> None:
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="latest", fetch_max_wait_ms=50
        )
        self._closed: dict[str, asyncio.Future[tuple[str, float]]] = {}
        self._task: asyncio.Task[None] | None = None
        self.lags: list[float] = []
        """Seconds from each event's transaction to its arrival here."""

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        self._consumer.assign([TopicPartition(ORDER_EVENTS, number) for number in range(PARTITIONS)])
        await self._consumer.seek_to_end()
        self._task = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._consumer.stop()

    async def closed(self, order_id: str) -> tuple[str, float]:
        """The type of the event that closed the order, and when it was seen (monotonic seconds)."""
        return await self._future(order_id)

    async def _read(self) -> None:
        async for record in self._consumer:
            headers = dict(record.headers)
            self.lags.append(time.time() - _unix(headers["ce_time"]))
            event_type = headers["ce_type"].decode()
            future = self._future(record.key.decode())
            if event_type in CLOSED and not future.done():
                future.set_result((event_type, time.monotonic()))

    def _future(self, order_id: str) -> asyncio.Future[tuple[str, float]]:
        return self._closed.setdefault(order_id, asyncio.get_running_loop().create_future())


def _unix(moment: bytes) -> float:
    return datetime.fromisoformat(moment.decode()).timestamp()
