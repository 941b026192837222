"""What there is at Stripe in the middle of a case, as far as it decides what can happen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sandbox.stripe.account import StripeAccount
from sandbox.stripe.disputes import Dispute, DisputeStatus
from sandbox.stripe.objects import Intent, Refund, RefundStatus

DECIDED = frozenset({DisputeStatus.WON, DisputeStatus.LOST, DisputeStatus.WARNING_CLOSED})


@dataclass(frozen=True, slots=True)
class AtStripe:
    """The one order's objects."""

    intent: Intent | None = None
    refunds: Sequence[Refund] = ()
    disputes: Sequence[Dispute] = ()
    has_outstanding_events: bool = False

    @property
    def left(self) -> int:
        """What came in, and neither went back nor is about to, in minor units."""
        received = 0 if self.intent is None else self.intent.amount_received
        return received - sum(refund.amount for refund in self.refunds if is_live(refund))

    @property
    def is_disputable(self) -> bool:
        """Whether money came in that was not wholly given back."""
        refunded = sum(refund.amount for refund in self.refunds if refund.status is RefundStatus.SUCCEEDED)
        return self.intent is not None and refunded < self.intent.amount_received

    @property
    def is_charged_back(self) -> bool:
        """Whether a dispute holds the money, or took it."""
        holding = (DisputeStatus.NEEDS_RESPONSE, DisputeStatus.UNDER_REVIEW, DisputeStatus.LOST)
        return any(dispute.status in holding for dispute in self.disputes)

    @property
    def open_disputes(self) -> list[Dispute]:
        """Those that no bank has decided yet."""
        return [dispute for dispute in self.disputes if dispute.status not in DECIDED]

    def refunds_that_are(self, *statuses: RefundStatus) -> list[Refund]:
        """Its refunds that stand so, oldest first."""
        return [refund for refund in self.refunds if refund.status in statuses]


def is_live(refund: Refund) -> bool:
    """Whether its money went back, or is about to."""
    return refund.status in (RefundStatus.PENDING, RefundStatus.REQUIRES_ACTION, RefundStatus.SUCCEEDED)


class View:
    """An account's one order as it is now, looked at anew only when something may have changed.

    Args:
        account: the account, as long as it is open.
    """

    def __init__(self, account: StripeAccount) -> None:
        self._account = account
        self._seen: AtStripe | None = None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Hear of changes as long as the context is open."""
        with self._account.listening(self.forget):
            yield

    def forget(self) -> None:
        """Something may have changed of which the account does not say so."""
        self._seen = None

    def look(self) -> AtStripe:
        """As it is now."""
        if self._seen is None:
            self._seen = self._look()
        return self._seen

    def _look(self) -> AtStripe:
        intents = self._account.all(Intent)
        if not intents:
            return AtStripe()
        has_outstanding_events = bool(self._account.deliveries.outstanding(limit=1))
        return AtStripe(intents[0], self._account.all(Refund), self._account.all(Dispute), has_outstanding_events)
