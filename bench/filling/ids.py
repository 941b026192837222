"""Ids that are drawn, and are born when it is said."""

from __future__ import annotations

from datetime import datetime
from random import Random


def drawn_id(random: Random, moment: datetime) -> str:
    """A UUIDv7 (RFC 9562) of that moment, as `domain.ids.new_id` makes one of now."""
    value = int(moment.timestamp() * 1_000) << 80 | 0x7 << 76 | random.getrandbits(12) << 64
    text = f"{value | 0x2 << 62 | random.getrandbits(62):032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def drawn_traceparent(random: Random, cause_id: str) -> str:
    """The trace of a cause, and a span."""
    return f"00-{cause_id.replace('-', '')}-{random.getrandbits(64):016x}-01"
