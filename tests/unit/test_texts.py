"""Lines of text that are what they look like."""

from __future__ import annotations

import re
import time
import unicodedata

import pytest

from domain.texts import PLAIN_LINE, PLAIN_LINES, is_plain_line, is_plain_lines, seen_part


@pytest.mark.parametrize(
    "text",
    [
        "Ada",
        "Ada Lovelace-King, 2nd",
        "Ngũgĩ wa Thiong'o",
        "山田太郎",
        "葛\U000e0100城市",  # as Japan writes it, by a variation selector
        "محمد",
        "प्रिया",
        "<b>Ada</b>; DROP TABLE orders --",  # ugly, and shown as it is
        "❤\ufe0f",
        "A" * 10_000,
        "نام\u200cخانوادگی",  # Persian spells with it
        "ක්\u200dරීඩා",
        "👩\u200d💻 for ❤\ufe0f\u200d🔥",
        "Nguyễn Thị Hạnh",
        "שָׁ֣לוֹם",
    ],
)
def test_a_line_that_is_what_it_looks_like_is_taken(text: str) -> None:
    assert is_plain_line(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\u3000\u2003",
        "\u202e",
        "Ada\u202eadA",
        "Springfield\r\nBcc: all@example.test",
        "Springfield\n",
        "\nSpringfield",
        "Ada\x00",
        "Ada\x1b[31m",
        "Ada\x85",
        "A\u200bda",
        "A\u200dda",
        "Ada\u200c",
        "\u200dم",
        "م\u200d",
        "م\u200d م",
        "م\u200d\u200dم",
        "Z" + "\u0351" * 9,
        "ก" + "\u0e47" * 100,
        "Ada\ue000",
        "Ada\ufdd0",
        "Ada\uffff",
        "Ada\U0001ffff",
        "Ada\U000f0000",
        "A\u2060da",
        "\ufeffAda",
        "Ada\u2066",
        "Ada\u061c",
        "\u3164",
        "Ada\u2028",
        "Ada\U000e0041",
    ],
)
def test_what_is_not_seen_or_breaks_the_line_is_refused(text: str) -> None:
    assert not is_plain_line(text)


@pytest.mark.parametrize(
    "text", ["One line", "Two\nlines", "Two\r\nlines\r\n", "\ta table", "\n\nafter a while", "نام\u200cخانوادگی\nم"]
)
def test_text_may_have_lines(text: str) -> None:
    assert is_plain_lines(text)


@pytest.mark.parametrize(
    "text",
    ["", "\n", "over\rwritten", "\r", "bell\a\n", "\x00", "a\n\u202eb", "\u200b\n", "a\x0b", "a\u2028b", "é\n\u200db"],
)
def test_lines_are_as_plain_as_one(text: str) -> None:
    assert not is_plain_lines(text)


def test_what_a_program_says_of_itself_is_kept_as_far_as_it_is_seen() -> None:
    assert seen_part("Phone/1\r\n\x1b[31m \u202e(é)\u200d\U000e0041") == "Phone/1[31m (é)"


@pytest.mark.parametrize("pattern", [PLAIN_LINE, PLAIN_LINES])
def test_long_text_takes_no_long_time(pattern: str) -> None:
    """No matter what makes the expression try everything: each look is a walk over the text."""
    began = time.process_time()
    for piece in ("a", "\u200d", "م\u200d", " ", "\n", "a\r"):
        re.search(pattern, piece * 10_000)
        re.search(pattern, piece * 10_000 + "\x00")

    assert time.process_time() - began < 1


def test_no_control_bidi_or_format_character_gets_through_but_those_of_scripts() -> None:
    through = {
        character
        for code in range(0x110000)
        if unicodedata.category(character := chr(code)) in ("Cc", "Cf", "Zl", "Zp") and is_plain_line(f"a{character}b")
    }

    # signs of Arabic, Syriac, Kaithi and Egyptian numbers, shorthand and music, which are seen or do nothing to others
    assert {unicodedata.name(character).split()[0] for character in through} == {
        "ARABIC",
        "SYRIAC",
        "KAITHI",
        "EGYPTIAN",
        "SHORTHAND",
        "MUSICAL",
    }
