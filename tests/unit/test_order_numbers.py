"""Order numbers: drawn, written by people, and mistyped."""

from __future__ import annotations

import re
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.order_numbers import (
    ALPHABET,
    RANDOM_BITS,
    is_written_as_number,
    new_order_number,
    order_number_of,
    parse_order_number,
)

NUMBERS = st.integers(0, 2**RANDOM_BITS - 1).map(order_number_of)


def test_a_number_has_two_halves_that_can_be_read_out() -> None:
    assert re.fullmatch(r"[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}", new_order_number())


def test_numbers_are_drawn_from_all_there_are() -> None:
    numbers = {new_order_number() for _ in range(2_000)}

    assert len(numbers) == 2_000  # of 34 thousand million
    for place in (0, 1, 2, 3, 5, 6, 7, 8):
        assert {number[place] for number in numbers} == set(ALPHABET)


@pytest.mark.parametrize("number", [order_number_of(seed**8 % 2**RANDOM_BITS) for seed in range(3, 300, 15)])
def test_one_wrong_letter_or_two_that_were_swapped_never_make_another_number(number: str) -> None:
    letters = number.replace("-", "")
    wrong = [
        letters[:place] + letter + letters[place + 1 :]
        for place in range(len(letters))
        for letter in ALPHABET
        if letter != letters[place]
    ]
    swapped = []
    for first, second in combinations(range(len(letters)), 2):
        other = list(letters)
        other[first], other[second] = other[second], other[first]
        swapped.append("".join(other))

    assert parse_order_number(letters) == number
    assert [text for text in (*wrong, *swapped) if text != letters and parse_order_number(text) is not None] == []


@given(NUMBERS, st.data())
def test_a_number_is_read_however_people_write_it(number: str, data: st.DataObject) -> None:
    looks_like = {"0": "0Oo", "1": "1IiLl"}
    written = "".join(
        data.draw(st.sampled_from(looks_like.get(letter, letter + letter.lower())))
        for letter in number.replace("-", "")
    )
    place = data.draw(st.integers(1, 7))
    separator = data.draw(st.sampled_from(["", "-", " "]))

    assert parse_order_number(f"{written[:place]}{separator}{written[place:]}") == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7KQ2",
        "7KQ2-M9XDA",
        "7KQ2--M9XD",
        "-7KQ2M9XD",
        "7KQ2-M9X\n",
        "7KQU-M9XD",
        "７KQ2-M9XD",
        "7KQ2_M9XD",
        "x" * 99,
    ],
)
def test_what_is_no_number_is_not_read_as_one(text: str) -> None:
    assert not is_written_as_number(text)
    assert parse_order_number(text) is None
