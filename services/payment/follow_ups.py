"""Sees to it that every refund and dispute has its workflow: at once, and by a sweep for those that this missed."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

import structlog

from runtime.database import Database
from runtime.refusal import Unavailable
from services.payment.follow_up_repository import FollowUp, FollowUpRepository, Subject
from services.payment.model import Payment, Refund
from services.payment.sagas import Sagas, SignalUndelivered

log = structlog.stdlib.get_logger(__name__)

_LIMIT: Final = 100
_SOONEST: Final = timedelta(seconds=10)
_LATEST: Final = timedelta(minutes=1)
"""The longest between two looks, and so about how long one may go whose workflow was ended from outside."""


class FollowUps:
    """Starts and wakes the workflows of refunds and disputes. All of it may be repeated."""

    def __init__(self, database: Database, sagas: Sagas) -> None:
        self._database = database
        self._sagas = sagas

    async def wake(self, payment: Payment, *, dispute_changed: bool = False) -> None:
        """Tell the workflows of what has changed of a payment; a dispute that changed concerns its refunds too.

        Raises:
            SignalUndelivered: repeat.
        """
        if not payment.has_follow_ups:
            return
        async with self._database.autocommit() as connection:
            open_ones = await FollowUpRepository(connection).find_of_payment(payment.id)
        for follow_up in open_ones:
            if follow_up.has_news or (dispute_changed and follow_up.subject is Subject.REFUND):
                await self._follow(follow_up, has_news=True)

    async def wake_if_possible(self, payment: Payment) -> None:
        """As `wake`; what Temporal does not take now, the sweep tells it later."""
        try:
            await self.wake(payment)
        except SignalUndelivered as problem:
            log.warning("follow_ups.not_woken", payment_id=payment.id, problem=str(problem))

    async def set_known(self, refund: Refund) -> None:
        """Note that the refund's saga has just been told how it stands."""
        async with self._database.autocommit() as connection:
            await FollowUpRepository(connection).set_woken(Subject.REFUND, refund.id, version=refund.version)

    async def run(self, *, interval: float) -> None:
        """Sweep every `interval` seconds until cancelled."""
        while True:
            try:
                await self.sweep()
            except Unavailable as problem:
                log.warning("follow_ups.postponed", problem=str(problem))
            except Exception:  # the border of a loop that must go on
                log.exception("follow_ups.failed")
            await asyncio.sleep(interval)

    async def sweep(self) -> int:
        """Make sure that what is due has its workflow, and that this has its news; how many that were.

        Raises:
            SignalUndelivered: some of it has to be looked at again.
        """
        async with self._database.autocommit() as connection:
            due = await FollowUpRepository(connection).find_due(limit=_LIMIT)
        for follow_up in due:
            await self._follow(follow_up, has_news=follow_up.has_news)
            async with self._database.autocommit() as connection:
                await FollowUpRepository(connection).look_later(follow_up, soonest=_SOONEST, latest=_LATEST)
        return len(due)

    async def _follow(self, follow_up: FollowUp, *, has_news: bool) -> None:
        if follow_up.subject is Subject.REFUND:
            await self._sagas.follow_refund(refund_id=follow_up.id, order_id=follow_up.order_id, has_news=has_news)
        else:
            await self._sagas.follow_dispute(dispute_id=follow_up.id, order_id=follow_up.order_id, has_news=has_news)
        if has_news:
            async with self._database.autocommit() as connection:
                await FollowUpRepository(connection).set_woken(
                    follow_up.subject, follow_up.id, version=follow_up.version
                )
