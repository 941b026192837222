"""Text of people that other people are shown, such as names and cities: one line that is what it looks like."""

from __future__ import annotations

import re
from typing import Final

_UNSEEN: Final = (
    r"\x00-\x1f\x7f-\x9f"  # controls, line ends among them
    r"\u2028\u2029"  # line and paragraph separators
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # which change the direction of the text around them
    r"\u200b-\u200d\u2060-\u2065\u206a-\u206f\ufeff\u00ad\u034f\u180e"  # which have no width
    r"\u115f\u1160\u17b4\u17b5\u3164\uffa0"  # letters that are blank
    r"\ufff9-\ufffb"  # annotations
)
BLANK: Final = r"\t-\r\x1c- \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""What `str.isspace` says of a character, as a part of a class in a regular expression: its \\s differs by engine."""
PLAIN_LINE: Final = rf"^(?=.*\S)[^{_UNSEEN}]*$(?!\n)"
"""As a regular expression that Python and ECMAScript understand alike."""
PLAIN_LINE_RULE: Final = "with something to see in it, and no control, invisible or direction character"
_PLAIN_LINE: Final = re.compile(PLAIN_LINE)
_TAGS: Final = re.compile("[\U000e0000-\U000e007f]")
"""Invisible copies of ASCII, which ECMAScript names otherwise."""


def is_plain_line(text: str) -> bool:
    """Whether it has something to see, and nothing that is not seen: no line end, no zero width, no bidi control.

    The variation selectors that some letters and emoji come with are allowed.
    """
    return _PLAIN_LINE.search(text) is not None and _TAGS.search(text) is None
