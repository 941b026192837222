"""Quotes that a history can hold."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from activities.pricing import fit_names
from domain.ids import new_id
from domain.limits import MAX_PRODUCT_NAME
from domain.money import MAX_AMOUNT
from domain.orders import MAX_LINES, MAX_QUANTITY, PricedLine
from domain.saga import Quote

PAYLOAD = 2_000_000
"""Bytes that Temporal takes at once."""


def quote(lines: int, name: str) -> Quote:
    priced = [PricedLine(new_id(), MAX_QUANTITY, MAX_AMOUNT, name=name) for _ in range(lines)]
    return Quote(lines=priced, total=MAX_AMOUNT, currency="EUR")


@pytest.mark.parametrize("letter", ["a", "Ж", "😀", '"'])
def test_the_largest_quote_fits_into_a_history(letter: str) -> None:
    fitted = fit_names(quote(MAX_LINES, letter * MAX_PRODUCT_NAME))

    assert len(json.dumps(asdict(fitted))) < PAYLOAD
    assert all(set(line.name) == {letter} for line in fitted.lines)


@pytest.mark.parametrize(("lines", "letter"), [(1, "😀"), (400, "😀"), (MAX_LINES, "a")])
def test_names_that_fit_stay_whole(lines: int, letter: str) -> None:
    whole = quote(lines, letter * MAX_PRODUCT_NAME)

    assert fit_names(whole) == whole
