"""The list of what needs a person: sagas raise and clear, the watcher keeps it, operators read it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import structlog

from domain.concerns import ConcernKind
from domain.limits import MAX_CONCERNS
from runtime.clock import Clock
from runtime.database import Database
from runtime.metrics import ATTENTION_RAISED
from runtime.on_call import Concern
from services.order.attention.model import SAGA, WATCHER, Action, OpenConcern, OpenOrder, PastConcern, Wanted
from services.order.attention.repository import AttentionRepository
from services.order.errors import OrderNotFound

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcernPage:
    """Open concerns, and whether more follow the last of them."""

    concerns: list[OpenConcern]
    has_more: bool


class AttentionService:
    """Concerns of everything that an order is about, and what operators did about them."""

    def __init__(self, database: Database, *, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def raise_for_step(
        self, *, kind: ConcernKind, subject_id: str, order_id: str, step: str, cause: str, raised_by: str = SAGA
    ) -> None:
        """Record that a step of a saga needs a person; raised again, it has the new cause.

        Raises:
            OrderNotFound: there is no such order.
        """
        concern = Concern(
            kind=kind, subject_id=subject_id, step=step, order_id=order_id, cause=cause, since=self._clock()
        )
        async with self._database.autocommit() as connection:
            is_new = await AttentionRepository(connection).raise_for_order(concern, raised_by=raised_by)
        if is_new is None:
            raise OrderNotFound(order_id)
        if is_new:
            _count_raised(kind, step)

    async def clear(self, *, kind: ConcernKind, subject_id: str, step: str | None, cleared_by: str = SAGA) -> int:
        """Record that a step, or all that there is of the subject, needs nobody any more; how many were open."""
        async with self._database.autocommit() as connection:
            return await AttentionRepository(connection).clear(
                kind=kind, subject_id=subject_id, step=step, cleared_by=cleared_by
            )

    async def reconcile(
        self,
        found: Sequence[Concern],
        *,
        raised_by: str,
        kinds: Sequence[ConcernKind],
        subjects: Sequence[str] | None,
    ) -> None:
        """Let the list say what a look has found, of the kinds and subjects that it looked at (None: all)."""
        async with self._database.autocommit() as connection:
            repository = AttentionRepository(connection)
            for kind, step in await repository.reconcile(found, raised_by=raised_by, kinds=kinds, subjects=subjects):
                _count_raised(kind, step)

    async def list_open(self, wanted: Wanted, *, page_size: int) -> ConcernPage:
        """A page of what needs a person, in the order in which it was raised."""
        async with self._database.autocommit() as connection:
            found = await AttentionRepository(connection).find_open(wanted, limit=page_size + 1)
        return ConcernPage(concerns=found[:page_size], has_more=len(found) > page_size)

    async def find_of_subjects(self, kind: ConcernKind, subjects: Collection[str]) -> list[OpenConcern]:
        """What needs a person of these."""
        async with self._database.autocommit() as connection:
            return await AttentionRepository(connection).find_of_subjects(kind, subjects)

    async def find_of_subject(self, subject_id: str) -> list[OpenConcern]:
        """What needs a person of it, and about it."""
        return (await self.list_open(Wanted(subject_id=subject_id), page_size=MAX_CONCERNS)).concerns

    async def find_of_order(self, order_id: str) -> list[PastConcern]:
        """What of an order needs a person, or did."""
        async with self._database.autocommit() as connection:
            return await AttentionRepository(connection).find_of_order(order_id)

    async def find_open_orders(self, *, after: str | None, limit: int) -> list[OpenOrder]:
        """Orders that are open, by their ids."""
        async with self._database.autocommit() as connection:
            return await AttentionRepository(connection).find_open_orders(after=after, limit=limit)

    async def clear_closed_orders(self) -> None:
        """Record that orders that have closed need nobody."""
        async with self._database.autocommit() as connection:
            await AttentionRepository(connection).clear_closed_orders(cleared_by=WATCHER)

    async def keep_action(self, action: Action) -> None:
        """Keep what an operator did."""
        log.info(
            "operator.acted",
            actor=action.actor,
            action=action.action,
            subject_id=action.subject_id,
            order_id=action.order_id,
            outcome=action.outcome,
        )
        async with self._database.autocommit() as connection:
            await AttentionRepository(connection).add_action(action)

    async def find_actions(self, order_id: str) -> list[Action]:
        """What operators did about an order."""
        async with self._database.autocommit() as connection:
            return await AttentionRepository(connection).find_actions(order_id)


def _count_raised(kind: ConcernKind, step: str) -> None:
    ATTENTION_RAISED.labels(kind.value, step.partition(" ")[0]).inc()  # behind the step may stand whose it is
