"""A request in short, to tell whether another one with the same idempotency key is the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping


def fingerprint(request: Mapping[str, object]) -> str:
    """SHA-256 of a request in a canonical form: the same request has the same, another one another."""
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
