"""How much a shop has behind it, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

SPAN: Final = timedelta(days=730)
"""From the first order to the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What is filled. The same shape makes the same rows, but for what is reckoned from `until`.

    Attributes:
        orders: in all.
        until: when the last one was placed.
        seed: of all that is drawn.
        recent: so many of the newest orders have the rows that a retention is for: events of the outbox, of the inbox
            and of Stripe, idempotency keys, refresh tokens. None: every one.
        open_orders: so many of the newest wait to be paid. No workflow runs for them: `ordersaga audit` says so (6),
            and the watcher calls somebody.
        intents: whether payments have an intent. The filled ones are not at Stripe, and the audit says so (7).
        products: in the catalogue.
        password_hash: of every account.
    """

    orders: int
    until: datetime
    seed: int = 0
    recent: int | None = None
    open_orders: int = 0
    intents: bool = True
    products: int = 1_000
    password_hash: str = "-"  # noqa: S105  # no password makes it

    @property
    def began_at(self) -> datetime:
        """When the first order was placed."""
        return self.until - SPAN

    @property
    def customers(self) -> int:
        """Accounts that order: some ten orders each, but for those whom `bench.filling.people` singles out."""
        return max(20, self.orders // 10)

    def is_recent(self, number: int, *, of: int) -> bool:
        """Whether number `number` of so many that came one after the other has what a retention is for."""
        return self.recent is None or number >= of * (1 - self.recent / self.orders)
