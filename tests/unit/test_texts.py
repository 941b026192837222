"""Lines of text that are what they look like."""

from __future__ import annotations

import unicodedata

import pytest

from domain.texts import is_plain_line


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
