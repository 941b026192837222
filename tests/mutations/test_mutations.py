"""Every mutation of the catalogue is caught by the tests that it names; on the sound code `make test` runs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutations.catalogue import MUTATIONS
from tests.support.mutation import ROOT, Mutation, copy_project, is_caught


@pytest.fixture(scope="session")
def project_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(tmp_path_factory.mktemp("mutations"))


@pytest.mark.more
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("mutation", MUTATIONS, ids=str)
def test_a_mutation_is_caught(mutation: Mutation, project_copy: Path) -> None:
    caught, output = is_caught(mutation, project_copy)

    assert caught, output[-5_000:]


def test_every_mutation_still_has_its_source() -> None:
    changed = [str(each) for each in MUTATIONS if (ROOT / each.file).read_text().count(each.source) != 1]

    assert changed == [], "write these mutations anew"


def test_mutations_are_told_apart_by_what_they_break() -> None:
    assert len({each.breaks for each in MUTATIONS}) == len(MUTATIONS)
