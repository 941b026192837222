"""Entity tags and If-Match (RFC 9110, sections 8.8.3 and 13.1.1)."""

from __future__ import annotations

import pytest

from api.etags import etag, expected_versions
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
