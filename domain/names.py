"""Names that people give themselves: what they may hold, so that no mail to a stranger becomes somebody's message."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_UNSEEN: Final = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
"""Unicode categories of what is not seen, breaks a line or turns its direction around."""
_JOINERS: Final = frozenset("\u200c\u200d")
"""Unseen, but some scripts spell with them."""
_ADDRESS: Final = re.compile(r"://|@|\bwww\.|\w[.](?=\w{2})", re.IGNORECASE)
"""The beginnings of a link or an e-mail address: mail programs make something to click on of ``shop.example``, too."""


def is_seen(text: str) -> bool:
    """Whether each of its characters is seen, or joins some that are: no control characters, none that reorder text."""
    return all(letter in _JOINERS or unicodedata.category(letter) not in _UNSEEN for letter in text)


def holds_address(text: str) -> bool:
    """Whether a mail program would make a link of a part of it."""
    return _ADDRESS.search(unicodedata.normalize("NFKC", text)) is not None
