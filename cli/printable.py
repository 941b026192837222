"""Text that others wrote, as a terminal may show it."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec
from rich.markup import escape

_SHORT: Final = 80


def printable(text: str) -> str:
    """The text on one line, its control characters escaped: somebody's record must not steer the terminal."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def as_markup(text: str) -> str:
    """The same for a page that is written in rich's markup: nothing of the text is markup."""
    return escape(printable(text))


def readable(data: bytes, *, longest: int = _SHORT) -> str:
    """Bytes as far as they are text, on one line, cut after `longest` characters."""
    text = printable(data[: 4 * longest].decode(errors="backslashreplace"))
    return text if len(data) <= 4 * longest and len(text) <= longest else f"{text[:longest]}…"


def printable_json(data: Any) -> str:
    """The data as JSON in one line of printable characters; what is not is escaped, as JSON does it."""
    text = msgspec.json.encode(data).decode()
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text)
