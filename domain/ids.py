"""Identifiers: UUIDv7 (RFC 9562, section 5.7) in canonical text form."""

from __future__ import annotations

import os
import re
import time
import uuid
from typing import Final

_CANONICAL: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def new_id() -> str:
    """A new UUIDv7: 48 bits of Unix milliseconds, then 74 random bits, so ids sort by time of birth."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds & (1 << 48) - 1) << 80 | random
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))


def is_id(text: str) -> bool:
    """Whether `text` is a UUID in canonical form: lower case with hyphens."""
    return _CANONICAL.fullmatch(text) is not None
