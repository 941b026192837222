"""The parts: whether each answers, what stands still in its tables, and whether anybody takes the workflows' work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Final

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.client import Client

from domain.concerns import AWAY_STEP, ConcernKind
from ordersaga.oncall.v1 import on_call_pb2 as pb
from ordersaga.oncall.v1.on_call_pb2_grpc import OnCallServiceStub
from runtime.caller import SERVICE
from runtime.clock import Clock
from runtime.identity import Part
from runtime.on_call import Concern, OnCallServicer
from runtime.protos import from_proto
from runtime.refusal import Unavailable
from runtime.rpc_client import call
from runtime.task_queue import describe_task_queue
from services.order.attention.model import TEMPORAL, WATCHER
from services.order.attention.service import AttentionService

MOST: Final = 200
"""Concerns of one kind that a part is asked for."""
_DEADLINE: Final = 5.0
"""Of a call to a part, seconds."""
_LONGEST_POLL: Final = 75.0
"""Seconds within which every worker that is there asks for work again: Temporal answers after 60 at the latest, and
remembers who asked for minutes."""
_KINDS: Final = (ConcernKind.EVENT, ConcernKind.MAIL, ConcernKind.PART)


class Parts:
    """All parts, as the order service sees them.

    Args:
        attention: the list of concerns.
        own: what the order service says of itself.
        others: on-call services of the others.
        client: of Temporal.
        task_queue: where order workers listen.
        patience: how long anything may stand still.
        clock: what "since" is said by.
        monotonic: what it is measured by.
    """

    def __init__(
        self,
        attention: AttentionService,
        own: OnCallServicer,
        others: Mapping[Part, OnCallServiceStub],
        client: Client,
        *,
        task_queue: str,
        patience: timedelta,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._attention = attention
        self._own = own
        self._others = others
        self._client = client
        self._task_queue = task_queue
        self._patience = patience
        self._clock = clock
        self._monotonic = monotonic
        self._away_since: dict[str, float] = {}
        self._last_poll: tuple[int | None, float] = None, monotonic()
        """When somebody last asked for work, by Temporal's clock, and when that was first seen, by ours."""

    async def look(self, after: str | None) -> str | None:
        """See `looks.Look`; there is one batch."""
        own = await self._own.find_concerns(older_than=self._patience, most=MOST)
        await self._reconcile(Part.ORDER.value, own)
        away = await asyncio.gather(
            self._look_at_queue(), *(self._look_at(part, stub) for part, stub in self._others.items())
        )
        await self._reconcile(WATCHER, [concern for concern in away if concern is not None])
        return None

    async def _look_at(self, part: Part, stub: OnCallServiceStub) -> Concern | None:
        """Take over what the part says of its tables; whether it is away."""
        request = pb.ListConcernsRequest(older_than_seconds=int(self._patience.total_seconds()), most=MOST)
        try:
            answer = await call(stub.ListConcerns, request, caller=SERVICE, deadline=_DEADLINE)
        except Unavailable as problem:
            return self._is_away(part.value, f"the {part.value} service does not answer", str(problem))
        self._away_since.pop(part.value, None)
        await self._reconcile(part.value, [from_proto(Concern, concern) for concern in answer.concerns])
        return None

    async def _reconcile(self, raised_by: str, concerns: Sequence[Concern]) -> None:
        await self._attention.reconcile(concerns, raised_by=raised_by, kinds=_KINDS, subjects=None)

    async def _look_at_queue(self) -> Concern | None:
        """Whether order workers ask for work, and how long work waits for them."""
        try:
            queue = await describe_task_queue(self._client, self._task_queue, TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW)
        except Unavailable as problem:
            return self._is_away(TEMPORAL, "Temporal does not answer", str(problem))
        self._away_since.pop(TEMPORAL, None)
        waiting, age = queue.stats.approximate_backlog_count, queue.stats.approximate_backlog_age.ToTimedelta()
        worker = Part.ORDER_WORKER.value
        if waiting and age > self._patience:
            return Concern(
                kind=ConcernKind.PART,
                subject_id=worker,
                step=AWAY_STEP,
                cause=f"order workers do not take up {waiting:,} task(s) of workflows",
                since=self._clock() - age,
            )
        asked_at = max((poller.last_access_time.ToNanoseconds() for poller in queue.pollers), default=None)
        now = self._monotonic()
        if asked_at != self._last_poll[0]:
            self._last_poll = asked_at, now
        if asked_at is None or now - self._last_poll[1] > _LONGEST_POLL:
            return self._is_away(worker, "no order worker asks Temporal for work", None)
        self._away_since.pop(worker, None)
        return None

    def _is_away(self, name: str, cause: str, error: str | None) -> Concern | None:
        now = self._monotonic()
        away_for = timedelta(seconds=now - self._away_since.setdefault(name, now))
        if away_for < self._patience:
            return None
        return Concern(
            kind=ConcernKind.PART,
            subject_id=name,
            step=AWAY_STEP,
            cause=cause,
            since=self._clock() - away_for,
            last_error=error,
        )
