"""All objects of one account."""

from __future__ import annotations

from sandbox.stripe.ledger.disputes import DisputeLedger
from sandbox.stripe.ledger.endpoints import EndpointLedger
from sandbox.stripe.ledger.intents import IntentLedger
from sandbox.stripe.ledger.journal import Journal
from sandbox.stripe.ledger.reading import Reader
from sandbox.stripe.ledger.refunds import RefundLedger
from sandbox.stripe.store import DebitEnd, Plan, RefundChange, Store


class Ledger:
    """Commands by the kind of object. Those that write belong into a transaction of the store."""

    def __init__(self, store: Store, journal: Journal, endpoints: EndpointLedger, *, base_url: str) -> None:
        self._journal = journal
        self.intents = IntentLedger(journal, base_url=base_url)
        self.refunds = RefundLedger(journal)
        self.disputes = DisputeLedger(journal)
        self.endpoints = endpoints
        self.reader = Reader(store, journal, self.intents)

    def carry_out(self, plan: Plan) -> None:
        """Let an object change as planned, unless something else became of it."""
        match plan.change:
            case RefundChange():
                self.refunds.carry_out(plan.subject_id, plan.change)
            case DebitEnd():
                self.intents.end_debit(plan.subject_id)
        self._journal.drop_plan(plan.subject_id)
