"""What changes by itself some time after it was made, as planned in the store: refunds and payments that are
late."""

from __future__ import annotations

from sandbox.stripe.clock import Clock
from sandbox.stripe.ledger.ledger import Ledger
from sandbox.stripe.store import Store


class PlannedChanges:
    """Carries out what is planned once it is due."""

    def __init__(self, store: Store, ledger: Ledger, clock: Clock) -> None:
        self._store = store
        self._ledger = ledger
        self._clock = clock

    def run_due(self) -> bool:
        """Carry out all that is due; returns whether there was anything."""
        ran = False
        while (plan := self._store.next_plan()) is not None and plan.due_at <= self._clock.now():
            with self._store.transaction():
                self._ledger.carry_out(plan)
            ran = True
        return ran

    def next_pause(self) -> float | None:
        """Seconds until the next one is due, if there is one."""
        plan = self._store.next_plan()
        return None if plan is None else max(plan.due_at - self._clock.now(), 0.0)
