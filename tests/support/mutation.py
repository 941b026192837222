"""Mutations: defects planted into a copy of the source, each of which a test of `make test` has to catch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
_NOT_COPIED: Final = shutil.ignore_patterns(".git", ".venv", "var", "dist", "__pycache__", ".*_cache", ".hypothesis")
_CAUGHT: Final = 1
"""Pytest's exit code when tests ran and some failed."""
_PYTEST: Final = ("-m", "pytest", "-n", "0", "-x", "-q", "-p", "no:randomly", "--timeout=120")
"""A test that takes longer than the timeout has failed: a defect may let an update of a workflow wait for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """One defect.

    Attributes:
        breaks: what is wrong with the mutated source, as a sentence.
        file: path from the project's root.
        source: the lines as they are; they stand in the file once.
        mutated: what stands in their place.
        tests: node ids, or files, of the tests that catch it; the first of them that fails ends the run.
    """

    breaks: str
    file: str
    source: str
    mutated: str
    tests: Sequence[str]

    def __str__(self) -> str:
        return self.breaks

    def apply(self, copy: Path) -> None:
        """Plant the defect into a copy of the project.

        Raises:
            LookupError: the source has changed, so that the mutation has to be written anew.
        """
        path = copy / self.file
        text = path.read_text()
        if text.count(self.source) != 1:
            raise LookupError(f"{self.file} has {text.count(self.source)} times, not once:\n{self.source}")
        path.write_text(text.replace(self.source, self.mutated))


def copy_project(folder: Path) -> Path:
    """A copy of the project's files, generated code included."""
    copy = folder / "project"
    shutil.copytree(ROOT, copy, ignore=_NOT_COPIED)
    return copy


def is_caught(mutation: Mutation, copy: Path) -> tuple[bool, str]:
    """Run the mutation's tests on a copy that has it; whether one of them failed, and what pytest printed."""
    mutation.apply(copy)
    try:
        done = subprocess.run(
            [sys.executable, *_PYTEST, *mutation.tests],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(copy), str(copy / "generated")])},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        shutil.copy2(ROOT / mutation.file, copy / mutation.file)
    return done.returncode == _CAUGHT, done.stdout + done.stderr
