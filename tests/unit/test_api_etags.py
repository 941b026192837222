"""Entity tags and If-Match (RFC 9110, sections 8.8.3 and 13.1.1)."""

from __future__ import annotations

import pytest

from api.etags import content_etag, etag, expected_versions, is_known
from api.schemas.products import ProductPage
from runtime.refusal import InvalidArgument
from runtime.validation import Violations

NEVER = 0


@pytest.mark.parametrize(
    ("header", "versions"),
    [
        (None, []),
        ("*", []),
        (" * ", []),
        (etag(3), [3]),
        ('"1", "2"', [1, 2]),
        (',"1",,"2",', [1, 2]),
        ('W/"3"', [NEVER]),
        ('"some one else\'s"', None),
        ('"elses"', [NEVER]),
        ('"elses", "4"', [NEVER, 4]),
        ('""', [NEVER]),
        ('"03"', [NEVER]),
        ('"0"', [NEVER]),
        ('"-1"', [NEVER]),
        (f'"{10**30}"', [NEVER]),
        ('"a,b"', [NEVER]),
        ("", None),
        ("3", None),
        ('"3', None),
        ('"3" "4"', None),
        ('*, "3"', None),
        ('w/"3"', None),
    ],
)
def test_if_match_demands_versions_or_is_named(header: str | None, versions: list[int] | None) -> None:
    if versions is not None:
        with Violations() as faults:
            assert expected_versions(header, faults) == versions
        return
    with pytest.raises(InvalidArgument) as caught, Violations() as faults:
        expected_versions(header, faults)
    assert set(caught.value.details) == {"If-Match"}


@pytest.mark.parametrize("header", ['"3"', 'W/"3"', '"1", "3"', "*", ' "3" '])
def test_a_tag_that_the_client_names_is_known(header: str) -> None:
    assert is_known('"3"', header)
    assert is_known('W/"3"', header)


@pytest.mark.parametrize("header", ['"4"', "3", '"3', "", '"33"', "W/3"])
def test_any_other_is_not(header: str) -> None:
    assert not is_known('"3"', header)


def test_what_has_no_tag_is_never_known() -> None:
    assert not is_known("", "*")


def test_what_has_no_version_has_a_tag_of_its_content() -> None:
    empty, more = ProductPage(items=[], next_cursor=None), ProductPage(items=[], next_cursor="x")

    assert content_etag(empty) == content_etag(ProductPage(items=[], next_cursor=None))
    assert content_etag(empty) != content_etag(more)
    assert is_known(content_etag(empty), content_etag(empty))
