"""What the tests of shared mechanisms stand on."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.support.scratch import Scratch


@pytest.fixture(scope="module")
def scratch(databases: Mapping[str, str]) -> Scratch:
    """An empty schema for the module."""
    return Scratch(databases["order"])
