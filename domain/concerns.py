"""What may need a person: the kinds of it, and the words that sagas, watchers and operators share."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class ConcernKind(StrEnum):
    """What a concern is about."""

    ORDER = "ORDER"
    REFUND = "REFUND"
    DISPUTE = "DISPUTE"
    EVENT = "EVENT"
    """One of the payment provider's."""
    MAIL = "MAIL"
    """Or an SMS."""
    PART = "PART"
    """A part of ours, or a server that it needs."""


WORKFLOW_STEP: Final = "workflow"
"""Stands for a step: the workflow is gone, or was ended from outside."""
TASK_STEP: Final = "workflow_task"
"""Stands for a step: the workflow's own code fails, or nobody runs it."""
UNMOVED_STEP: Final = "unmoved"
"""Stands for a step: an order is where it was for too long, and its workflow does not say why."""
CANCEL_STEP: Final = "cancel"
"""Stands for a step: somebody asked for an order's cancellation, and its workflow cannot be asked."""
DISPUTE_STEP: Final = "dispute"
"""Stands for a step: the customer disputes a payment."""
FLAGGED_STEP: Final = "flagged"
"""Stands for a step: it can never be processed as things stand."""
WAITING_STEP: Final = "waiting"
"""Stands for a step: it is tried again and again, in vain."""
OUTBOX_STEP: Final = "outbox"
"""Stands for a step of the relay's: events wait for Kafka. Behind it stands whose."""
AWAY_STEP: Final = "away"
"""Stands for a step: a part does not answer, or a worker takes no work."""
CONSUMER_STEP: Final = "consumer"
"""Stands for a step of a part's: it does not get on with what it reads from Kafka."""
DEAD_LETTERS_STEP: Final = "dead_letters"
"""Stands for a step of a part's: records from Kafka that it refused."""
