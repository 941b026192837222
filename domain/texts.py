"""Text that people write and other people are shown: it is what it looks like, and stays where it stands.

A name, a city, a note is a line; a description or a message may have several. The rules stand here once: as regular
expressions, which the gateway enforces and its description shows, and as functions, which also know what a regular
expression of ECMAScript and Python cannot say in the same words.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_UNSEEN: Final = (
    r"\x7f-\x9f"  # controls; those of ASCII come on top
    r"\u2028\u2029"  # line and paragraph separators
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # which change the direction of the text around them
    r"\u200b\u2060-\u2065\u206a-\u206f\ufeff\u00ad\u034f\u180e"  # which have no width
    r"\u115f\u1160\u17b4\u17b5\u3164\uffa0"  # letters that are blank
    r"\ufff9-\ufffb"  # annotations
    r"\ue000-\uf8ff\ufdd0-\ufdef\ufffe\uffff"  # for private use, or no characters at all
)
_JOINERS: Final = r"\u200c\u200d"
"""Without width as well, but Persian, the scripts of India and emoji are spelt with them: between two characters."""
_NEVER_JOINED: Final = r"\x00-\u05ff\u1e00-\u2065\u3000-\ud7ff"
"""Latin, Greek, Cyrillic, Hebrew, punctuation, Chinese, Japanese, Korean: a joiner behind one of these hides there."""
_SOMETHING: Final = r"(?=[\s\S]*\S)"
_JOINING: Final = rf"(?![\s\S]*(?:^|[{_NEVER_JOINED}])[{_JOINERS}])(?![\s\S]*[{_JOINERS}](?:\s|$))"

PLAIN_LINE: Final = rf"^{_SOMETHING}{_JOINING}[^\x00-\x1f{_UNSEEN}]*$(?!\n)"
"""A line, as a regular expression that Python and ECMAScript understand alike."""
PLAIN_LINES: Final = rf"^{_SOMETHING}{_JOINING}(?![\s\S]*\r(?!\n))[^\x00-\x08\x0b\x0c\x0e-\x1f{_UNSEEN}]*$"
"""One or more, with tabs if need be."""
NOTHING: Final = r"^$(?!\n)"
_RULE: Final = "invisible or direction character, and no more than eight marks on a letter"
PLAIN_LINE_RULE: Final = f"with something to see in it, no control, {_RULE}"
PLAIN_LINES_RULE: Final = f"with something to see in it, no control character but ends of lines and tabs, no {_RULE}"
MAX_MARKS: Final = 8
"""On one letter. The languages of the world need five; a tower of them covers the lines around it."""

_PLAIN_LINE: Final = re.compile(PLAIN_LINE)
_PLAIN_LINES: Final = re.compile(PLAIN_LINES)
_UNSEEN_BEYOND: Final = (
    "\U000e0000-\U000e007f"  # invisible copies of ASCII
    "\U000f0000-\U0010ffff"  # for private use
    + "".join(f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0x10000, 0xF0000, 0x10000))
)
"""Of the other planes, which ECMAScript names otherwise."""
_BEYOND: Final = re.compile(f"[{_UNSEEN_BEYOND}]")
_NOT_SEEN: Final = re.compile(rf"[\x00-\x1f{_UNSEEN}{_JOINERS}{_UNSEEN_BEYOND}]")


def is_plain_line(text: str) -> bool:
    """Whether it has something to see, and nothing that is not seen: no line end, no zero width, no bidi control.

    Variation selectors are allowed, which some letters and emoji come with, and joiners where scripts spell with them.
    """
    return _PLAIN_LINE.search(text) is not None and _is_plain_beyond(text)


def is_plain_lines(text: str) -> bool:
    """The same of text that may have several lines."""
    return _PLAIN_LINES.search(text) is not None and _is_plain_beyond(text)


def seen_part(text: str) -> str:
    """What of a line is seen, for what a program says of itself: nobody could mend that."""
    return _NOT_SEEN.sub("", text)


def _is_plain_beyond(text: str) -> bool:
    return text.isascii() or (_BEYOND.search(text) is None and not _is_stacked(text))


def _is_stacked(text: str) -> bool:
    marks = 0
    for character in text:
        marks = marks + 1 if unicodedata.category(character) in ("Mn", "Me") else 0
        if marks > MAX_MARKS:
            return True
    return False
