"""From when on: what `--since` takes."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from runtime.settings import SettingsError

BEGINNING: Final = "beginning"
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_since(text: str, *, now: datetime) -> datetime:
    """The moment that the text means; of ``beginning``, the earliest there is.

    Raises:
        SettingsError: it is neither ``beginning``, a span of time such as ``10m``, nor a time in the past.
    """
    if text == BEGINNING:
        return datetime.fromtimestamp(0, UTC)
    if span := re.fullmatch(r"([0-9]{1,6})([smhd])", text):
        return now - timedelta(**{_UNITS[span[2]]: int(span[1])})
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(
            f"--since: {text!r} is neither a span of time (90s, 10m, 2h, 7d), nor a time (2026-11-30T03:00, in UTC "
            f"unless it says otherwise), nor `{BEGINNING}`"
        ) from None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    if at > now:
        raise SettingsError(f"--since: {at:%Y-%m-%d %H:%M:%S %Z} is still to come: it is {now:%Y-%m-%d %H:%M:%S} UTC")
    return at
