"""W3C trace context (https://www.w3.org/TR/trace-context/) of what happens to one order, product or user.

All that happens because of an order belongs to one trace, whose id is the order's own: whoever knows the order finds
its trace, and the other way round. A UUID is as long as a trace id, and UUIDv7 ends in the random bits that samplers
look at.
"""

from __future__ import annotations

import hashlib
import uuid

_VERSION = "00"
_SAMPLED = "01"


def traceparent(*, cause_id: str, step: str) -> str:
    """The ``traceparent`` of a step, such as an event's id, in the trace of the aggregate that caused it.

    The same step has the same span id, so an event that is published twice is one span.
    """
    span_id = hashlib.sha256(step.encode()).hexdigest()[:16]
    return f"{_VERSION}-{uuid.UUID(cause_id).hex}-{span_id}-{_SAMPLED}"
