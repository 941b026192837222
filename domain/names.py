"""Names that people give themselves: no link, so that no mail to a stranger becomes somebody's message."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_ADDRESS: Final = re.compile(r"://|@|\bwww\.|\w[.](?=\w{2})", re.IGNORECASE)
"""The beginnings of a link or an e-mail address: mail programs make something to click on of ``shop.example``, too."""


def holds_address(text: str) -> bool:
    """Whether a mail program would make a link of a part of it."""
    return _ADDRESS.search(unicodedata.normalize("NFKC", text)) is not None
