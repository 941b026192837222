"""Queries of what needs a person, as people type them."""

from __future__ import annotations

import pytest

from cli.on_call.selection import Query
from domain.concerns import ConcernKind
from runtime.settings import SettingsError


@pytest.mark.parametrize("step", ["reserve", "outbox order"])
def test_a_query_that_is_shown_can_be_typed(step: str) -> None:
    query = Query(kind=ConcernKind.PART, step=step)

    assert Query.parse(query.to_text()) == query


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("step", "'step' is no term of a query"),
        ("colour=red", "'colour=red' is no term of a query"),
        ("step=a step=b", "'step=b' is no term of a query"),
        ('step="reserve', "no closing quotation"),
        ("older=soon", "soon"),
        ("kind=cat", "cat"),
    ],
)
def test_what_is_no_query_is_named_with_how_one_is_written(text: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        Query.parse(text)
