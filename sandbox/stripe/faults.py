"""Faults that can be switched on: webhooks that come twice, late, unordered or not at first; calls that break."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import msgspec

# A dropped webhook comes again within 60 s; the rest of the minute is for the attempt itself.
_DROPPED_SECONDS = (1.0, 50.0)
_SHUFFLE_SECONDS = 1.0

Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=600_000)]


class Operation(StrEnum):
    """The calls that a fault can be limited to."""

    INTENT_CREATE = "payment_intents.create"
    INTENT_RETRIEVE = "payment_intents.retrieve"
    INTENT_LIST = "payment_intents.list"
    INTENT_UPDATE = "payment_intents.update"
    INTENT_CONFIRM = "payment_intents.confirm"
    INTENT_CAPTURE = "payment_intents.capture"
    INTENT_CANCEL = "payment_intents.cancel"
    CHARGE_RETRIEVE = "charges.retrieve"
    CHARGE_LIST = "charges.list"
    REFUND_CREATE = "refunds.create"
    REFUND_CANCEL = "refunds.cancel"
    REFUND_RETRIEVE = "refunds.retrieve"
    REFUND_LIST = "refunds.list"
    DISPUTE_RETRIEVE = "disputes.retrieve"
    DISPUTE_LIST = "disputes.list"
    EVENT_RETRIEVE = "events.retrieve"
    EVENT_LIST = "events.list"
    ENDPOINT_CREATE = "webhook_endpoints.create"
    ENDPOINT_RETRIEVE = "webhook_endpoints.retrieve"
    ENDPOINT_LIST = "webhook_endpoints.list"
    ENDPOINT_UPDATE = "webhook_endpoints.update"
    ENDPOINT_DELETE = "webhook_endpoints.delete"


class WebhookFaults(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What happens to each event on its way."""

    duplicate: Annotated[int, msgspec.Meta(ge=1, le=10)] = 1
    """How often each event is delivered."""
    drop: Probability = 0.0
    """Part of the deliveries whose first attempt is lost; they come again within 60 s."""
    delay_ms: tuple[Milliseconds, Milliseconds] = (0, 0)
    """Bounds of the delay of each delivery."""
    shuffle: bool = False
    """Hold each delivery for a moment of up to 1 s, so that what happens within a second comes in any order."""

    def __post_init__(self) -> None:
        _check_bounds(self.delay_ms)


class ApiFaults(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What happens to each call, with these probabilities."""

    error_429: Probability = 0.0
    """Answer that there are too many calls, nothing executed (https://docs.stripe.com/rate-limits)."""
    error_500_before: Probability = 0.0
    """Answer 500, nothing executed."""
    error_500_after: Probability = 0.0
    """Execute, then answer 500, stored under the idempotency key."""
    lose_response: Probability = 0.0
    """Execute, store the answer, then close the connection without it."""
    delay_ms: tuple[Milliseconds, Milliseconds] = (0, 0)
    """Bounds of how long a call executes; its idempotency key is in use meanwhile."""
    operations: frozenset[Operation] | None = None
    """The calls that break; all when not given."""

    def __post_init__(self) -> None:
        _check_bounds(self.delay_ms)


class Faults(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """All faults; ``{}`` is none. A seed makes the draws repeatable."""

    webhook: WebhookFaults | msgspec.UnsetType = msgspec.UNSET
    api: ApiFaults | msgspec.UnsetType = msgspec.UNSET
    seed: int | msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """What befalls one call; `delay` is in seconds."""

    too_many: bool = False
    error_before: bool = False
    error_after: bool = False
    lose_response: bool = False
    delay: float = 0.0


class FaultSwitch:
    """Holds the faults that are on and draws from them."""

    def __init__(self) -> None:
        self.current = Faults()
        self._random = random.Random()  # noqa: S311  # chooses what breaks, guards nothing
        self._changed = asyncio.Event()

    def set(self, faults: Faults) -> None:
        """Replace the faults; calls that a delay holds up go on at once."""
        self.current = faults
        seed = None if faults.seed is msgspec.UNSET else faults.seed
        self._random = random.Random(seed)  # noqa: S311  # as above
        self.release()

    def release(self) -> None:
        """Let the calls that a delay holds up go on at once."""
        self._changed.set()
        self._changed = asyncio.Event()

    def clear(self) -> None:
        """Switch all faults off; calls that a delay holds up go on at once."""
        self.set(Faults())

    def draw(self, operation: Operation) -> Draw:
        """Decide what befalls one call."""
        faults = self.current.api
        if faults is msgspec.UNSET or (faults.operations is not None and operation not in faults.operations):
            return Draw()
        # All are drawn every time, so that one probability does not shift the draws of another.
        before, after, lose, too_many = (self._random.random() for _ in range(4))
        return Draw(
            too_many=too_many < faults.error_429,
            error_before=before < faults.error_500_before,
            error_after=after < faults.error_500_after,
            lose_response=lose < faults.lose_response,
            delay=self._seconds(faults.delay_ms),
        )

    async def hold(self, draw: Draw) -> None:
        """Wait as long as the draw says, or until the faults change."""
        if draw.delay > 0:
            with suppress(TimeoutError):  # the usual end: the delay is over
                await asyncio.wait_for(self._changed.wait(), draw.delay)

    def due_times(self, now: float) -> list[float]:
        """When each copy of an event that happens `now` is to be delivered, unix seconds."""
        faults = self.current.webhook
        if faults is msgspec.UNSET:
            return [now]
        return [now + self._lateness(faults) for _ in range(faults.duplicate)]

    def _lateness(self, faults: WebhookFaults) -> float:
        if self._random.random() < faults.drop:
            return self._random.uniform(*_DROPPED_SECONDS)
        shuffled = self._random.uniform(0.0, _SHUFFLE_SECONDS) if faults.shuffle else 0.0
        return shuffled + self._seconds(faults.delay_ms)

    def _seconds(self, bounds: tuple[int, int]) -> float:
        return self._random.uniform(*bounds) / 1_000


def _check_bounds(bounds: tuple[int, int]) -> None:
    if bounds[0] > bounds[1]:
        raise ValueError("The field `delay_ms` wants its lower bound first")
