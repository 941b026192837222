"""Outbox rows as Kafka batches."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from aiokafka.producer.message_accumulator import BatchBuilder

from workers.relay.batches import pack
from workers.relay.database import OutboxRow

BATCH_BYTES = 4_096


class UnclosedBatch(BatchBuilder):  # type: ignore[misc]  # aiokafka is untyped
    """Takes what fits, also after something that did not: aiokafka's own closes itself then, which is its business."""

    def close(self) -> None:
        """Stay open."""


class Partitions:
    """Two partitions: keys go where they are said to go."""

    def __init__(self, placed: Mapping[str, int]) -> None:
        self._placed = placed

    async def partition(self, topic: str, key: bytes) -> int:
        return self._placed[key.decode()]

    async def batch(self) -> BatchBuilder:
        return UnclosedBatch(BATCH_BYTES, 0)


def row(number: int, key: str, *, size: int = 10) -> OutboxRow:
    return OutboxRow(
        id=number,
        topic="orders",
        key=key,
        ce_id=f"order:{key}:{number}",
        ce_type="order.received",
        ce_seq=number,
        data="x" * size,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        at=datetime(2026, 11, 22, tzinfo=UTC),
    )


async def packed(*rows: OutboxRow) -> dict[int, list[int]]:
    """Partition to the ids of its batch's rows."""
    batches = await pack(Partitions({"a": 0, "b": 0, "c": 1}), rows, source="/test")
    assert all(batch.builder.record_count() == len(batch.rows) for batch in batches)
    return {batch.partition: [row.id for row in batch.rows] for batch in batches}


async def test_each_partition_gets_one_batch_of_its_rows_in_their_order() -> None:
    assert await packed(row(1, "a"), row(2, "c"), row(3, "b"), row(4, "a")) == {0: [1, 3, 4], 1: [2]}


async def test_a_small_row_does_not_overtake_one_that_did_not_fit() -> None:
    large = BATCH_BYTES * 2 // 3

    assert await packed(row(1, "a", size=large), row(2, "a", size=large), row(3, "a")) == {0: [1]}


async def test_a_full_partition_does_not_hold_up_the_other() -> None:
    large = BATCH_BYTES * 2 // 3

    assert await packed(row(1, "a", size=large), row(2, "b", size=large), row(3, "c")) == {0: [1], 1: [3]}


async def test_a_row_larger_than_a_batch_has_one_of_its_own() -> None:
    assert await packed(row(1, "a", size=BATCH_BYTES * 2), row(2, "a")) == {0: [1]}


async def test_nothing_to_pack_makes_no_batch() -> None:
    assert await packed() == {}
