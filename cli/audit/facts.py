"""What the audit looks at: rows of the databases and objects at Stripe, Temporal and Kafka, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

Lines = Mapping[str, int]
"""Product id to quantity."""


class Source(StrEnum):
    """What facts are read from."""

    TEMPORAL = "temporal"
    STRIPE = "stripe"
    INVENTORY = "database inventory"
    PAYMENT = "database payment"
    ORDER = "database order"
    KAFKA = "kafka"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What a check reads.

    Attributes:
        needed: without one of these it says nothing.
        used: without one of these it says less.
    """

    needed: frozenset[Source]
    used: frozenset[Source] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFact:
    """An order row with its lines; amounts in minor units, `refunded` so far.

    `price` is what its lines with their prices, its shipping and its discounts come to; None before it has prices.
    """

    id: str
    status: str
    seq: int
    total: int | None
    refunded: int
    currency: str
    created_at: datetime
    updated_at: datetime
    lines: Lines
    price: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TransitionFact:
    """A row of an order's history.

    `may_be_deleted`: its outbox row may have been deleted, since later ones were; and it was published, if it was.
    """

    order_id: str
    seq: int
    from_status: str | None
    to_status: str
    at: datetime
    has_outbox_row: bool
    is_published: bool
    may_be_deleted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservationFact:
    """A reservation with its lines."""

    order_id: str
    status: str
    lines: Lines


@dataclass(frozen=True, slots=True, kw_only=True)
class StockFact:
    """A product's stock, beside what its ledger and its reservations add up to."""

    product_id: str
    on_hand: int
    reserved: int
    seq: int
    movements: int
    last_seq: int
    on_hand_by_ledger: int
    reserved_by_lines: int
    committed_lines: int
    committed_movements: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RestockFact:
    """Units of a product that refunds of an order put back into stock, and those that were sold to it."""

    order_id: str
    product_id: str
    restocked: int
    sold: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentFact:
    """A payment row with the sum of its succeeded refunds. Amounts in minor units."""

    id: str
    order_id: str
    status: str
    amount: int
    currency: str
    amount_received: int
    currency_received: str | None
    intent_id: str | None
    seq: int
    refunded: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundFact:
    """A refund row; the amount in minor units."""

    id: str
    order_id: str
    status: str
    amount: int
    stripe_refund_id: str | None
    version: int
    saga_open: bool
    """Whether its workflow has still to do."""
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DisputeFact:
    """A dispute row; amounts in minor units of `currency`."""

    id: str
    order_id: str
    status: str
    amount: int
    currency: str
    withdrawn: int
    version: int
    saga_open: bool
    """Whether its workflow has still to do."""
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFact:
    """A provider event that is not processed."""

    event_id: str
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentFact:
    """A payment intent at Stripe; amounts in our minor units."""

    id: str
    payment_id: str
    order_id: str
    status: str
    amount_received: int
    refunded: int
    refunds: Mapping[str, str]
    """Refund id to Stripe's status."""
    disputes: Mapping[str, str]
    """Dispute id to Stripe's status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFact:
    """The workflow of an order, a refund or a dispute."""

    is_running: bool
    has_problems: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything, read from all sources side by side: a fact may be newer than another.

    Of a source that is in `unread`, nothing is known: its facts are empty.
    """

    read_at: datetime
    orders: Mapping[str, OrderFact]
    transitions: list[TransitionFact]
    reservations: Mapping[str, ReservationFact]
    stock: list[StockFact]
    restocks: list[RestockFact]
    payments: Mapping[str, PaymentFact]
    """By order id."""
    refunds: list[RefundFact]
    disputes: list[DisputeFact]
    waiting_events: list[EventFact]
    intents: Mapping[str, IntentFact]
    """By intent id."""
    runs: Mapping[str, RunFact]
    """By workflow id; of several runs under one id, the last."""
    published: Mapping[str, list[int]]
    """Order id to the seqs of its events in Kafka, in their order, each counted at its first occurrence."""
    forgotten_by_kafka: datetime | None = None
    """Up to when Kafka has forgotten events; None while it has all."""
    foreign_records: int = 0
    """Records on the topic of the orders' events that are none of ours."""
    unread: Mapping[Source, str] = field(default_factory=dict)
    """Source that could not be read to a line that names it, says why, and what mends it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """Something that does not agree. It counts only if it is still so, with the same versions, after the grace."""

    invariant: int
    subject: str
    what: str
    version: str
