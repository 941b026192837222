"""A change of the API that breaks its clients fails, unless the version says so: by its first number that is not 0.

`tests/contract/released/` keeps the description of each release, as `make openapi` wrote it then.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from sandbox.processes import ROOT
from tests.support.programs import cached, go_install

pytestmark = [pytest.mark.more, pytest.mark.needs("go")]

RELEASED: Final = Path(__file__).parent / "released"
NOW: Final = ROOT / "docs/openapi.json"
PACKAGE: Final = "github.com/oasdiff/oasdiff"
VERSION: Final = "v1.37.0"


@pytest.fixture(scope="session")
def oasdiff() -> Path:
    """The program."""
    return cached(f"oasdiff-{VERSION}", lambda cache: go_install(cache, f"{PACKAGE}@{VERSION}")) / "oasdiff"


def breaks(oasdiff: Path, before: Path, after: Path) -> str:
    """What of a change breaks clients, in words; empty where nothing does."""
    done = subprocess.run([oasdiff, "breaking", before, after, "--fail-on", "ERR"], capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout if done.returncode else ""


def generation(document: Path) -> tuple[int, ...]:
    """The numbers of its version of which a larger one may break clients: the first, or 0 with the second."""
    major, minor, *_ = map(int, json.loads(document.read_text())["info"]["version"].split("."))
    return (major,) if major else (0, minor)


def newest() -> Path:
    """What was released last."""
    return max(RELEASED.glob("*.json"), key=lambda path: tuple(map(int, path.stem.split("."))))


def test_nothing_breaks_the_clients_of_the_last_release_unless_the_version_says_so(oasdiff: Path) -> None:
    assert generation(NOW) > generation(newest()) or breaks(oasdiff, newest(), NOW) == ""


def lose_a_route(document: dict[str, Any]) -> None:
    del document["paths"]["/v1/users/me"]


def lose_a_field(document: dict[str, Any]) -> None:
    del document["components"]["schemas"]["Order"]["properties"]["status"]


def want_another_field(document: dict[str, Any]) -> None:
    new_user = document["components"]["schemas"]["NewUser"]
    new_user["properties"]["phone"] = {"type": "string"}
    new_user["required"].append("phone")


def show_another_field(document: dict[str, Any]) -> None:
    document["components"]["schemas"]["Order"]["properties"]["gift"] = {"type": "boolean"}


@pytest.mark.parametrize(
    ("change", "is_breaking"),
    [(lose_a_route, True), (lose_a_field, True), (want_another_field, True), (show_another_field, False)],
)
def test_what_breaks_clients_is_told_from_what_does_not(
    oasdiff: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], is_breaking: bool
) -> None:
    document = json.loads(NOW.read_text())
    change(document)
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(document))

    assert bool(breaks(oasdiff, NOW, changed)) == is_breaking
