"""Identifiers: UUIDv7 (RFC 9562, section 5.7) in canonical text form."""

from __future__ import annotations

import os
import re
import time
import uuid
from datetime import datetime, timedelta
from typing import Final

WRITTEN_ID: Final = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
"""The canonical form as a regular expression."""
LEAST_ID: Final = "00000000-0000-0000-0000-000000000000"
"""Before every id, in the order of ids."""
GREATEST_ID: Final = "ffffffff-ffff-ffff-ffff-ffffffffffff"
"""Behind every id."""
_WRITTEN_ID: Final = re.compile(WRITTEN_ID)


def new_id() -> str:
    """A new UUIDv7: 48 bits of Unix milliseconds, then 74 random bits, so ids sort by time of birth."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds & (1 << 48) - 1) << 80 | random
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))


def first_id_at(moment: datetime, *, later: timedelta = timedelta()) -> str:
    """The least UUIDv7 that may be born so much later than that moment: whatever sorts before it is older."""
    milliseconds = int((moment.timestamp() + later.total_seconds()) * 1_000)
    return str(uuid.UUID(int=min(max(milliseconds, 0), (1 << 48) - 1) << 80))


def is_id(text: str) -> bool:
    """Whether `text` is a UUID in canonical form: lower case with hyphens."""
    return _WRITTEN_ID.fullmatch(text) is not None
