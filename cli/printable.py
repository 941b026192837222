"""Text that others wrote, as a terminal may show it."""

from __future__ import annotations

from typing import Final

_SHORT: Final = 80


def printable(text: str) -> str:
    """The text on one line, its control characters escaped: somebody's record must not steer the terminal."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def readable(data: bytes, *, longest: int = _SHORT) -> str:
    """Bytes as far as they are text, on one line, cut after `longest` characters."""
    text = printable(data[: 4 * longest].decode(errors="backslashreplace"))
    return text if len(data) <= 4 * longest and len(text) <= longest else f"{text[:longest]}…"
