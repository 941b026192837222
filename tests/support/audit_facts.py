"""Facts for the audit, of which a test says only those that it is about."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from cli.audit.facts import Facts


def facts(**known: Any) -> Facts:
    """These facts, and nothing else."""
    nothing: dict[str, Any] = {
        "read_at": datetime.now(UTC),
        "orders": {},
        "transitions": [],
        "reservations": {},
        "stock": [],
        "restocks": [],
        "payments": {},
        "refunds": [],
        "disputes": [],
        "waiting_events": [],
        "intents": {},
        "runs": {},
        "published": {},
    }
    return Facts(**{**nothing, **known})
