"""Order numbers: what people call an order by, such as ``7KQ2-M9XD``.

Eight letters of Crockford's base 32, which has no I, L, O and U: seven at random, 35 bits, so that nobody finds an
order by guessing, and one that checks the others. Together they are a code word over the field of 32 elements, in which
each place counts twice the next one: one wrong letter, or any two that were swapped, never make another number.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from functools import reduce
from typing import Final

ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUES: Final = {letter: value for value, letter in enumerate(ALPHABET)}
_BITS: Final = 5
_SIZE: Final = 1 << _BITS
_POLYNOMIAL: Final = 0b100101
"""x⁵ + x² + 1, modulo which the field multiplies; primitive, so that no two places of a number count the same."""
_RANDOM_LETTERS: Final = 7
RANDOM_BITS: Final = _RANDOM_LETTERS * _BITS
_HALF: Final = 4

WRITTEN: Final = r"[0-9A-TV-Za-tv-z](?:[ -]?[0-9A-TV-Za-tv-z]){7}"
"""How people write a number, as a regular expression: in any case, I, L and O for 1 and 0, hyphens wherever they like.
"""
_WRITTEN: Final = re.compile(WRITTEN)
_READ_AS: Final = str.maketrans({"I": "1", "L": "1", "O": "0", "-": "", " ": ""})


def new_order_number() -> str:
    """A number drawn at random. It may be taken: whoever keeps numbers draws again."""
    return order_number_of(secrets.randbits(RANDOM_BITS))


def order_number_of(bits: int) -> str:
    """The number that these `RANDOM_BITS` bits make."""
    values = [bits >> (_BITS * place) & (_SIZE - 1) for place in reversed(range(_RANDOM_LETTERS))]
    letters = [ALPHABET[value] for value in (*values, _twice(_remainder(values)))]
    return _shown("".join(letters))


def is_written_as_number(text: str) -> bool:
    """Whether it has the form of a number, correct or not."""
    return _WRITTEN.fullmatch(text) is not None


def parse_order_number(text: str) -> str | None:
    """The number that somebody wrote, in the form in which it is kept; None where it is none, or was mistyped."""
    if not is_written_as_number(text):
        return None
    letters = text.upper().translate(_READ_AS)
    return None if _remainder(_VALUES[letter] for letter in letters) else _shown(letters)


def _shown(letters: str) -> str:
    return f"{letters[:_HALF]}-{letters[_HALF:]}"


def _remainder(values: Iterable[int]) -> int:
    """The sum of all values, each doubled once for every place behind it."""
    return reduce(lambda total, value: _twice(total) ^ value, values, 0)


def _twice(value: int) -> int:
    doubled = value << 1
    return doubled ^ _POLYNOMIAL if doubled & _SIZE else doubled
