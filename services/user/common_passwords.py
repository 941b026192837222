"""The passwords that are tried first: the 10,000 commonest of those that leaked, as the package zxcvbn lists them."""

from __future__ import annotations

from typing import Final

from zxcvbn.frequency_lists import FREQUENCY_LISTS

_COMMON: Final = frozenset(FREQUENCY_LISTS["passwords"][:10_000])
"""All in lower case; the list has the commonest first."""


def is_common(password: str) -> bool:
    """Whether it is one of them, in whatever case."""
    return password.casefold() in _COMMON
