"""Programs of others that a test needs, and how whoever lacks one gets it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest


def need(program: str, *, package: str) -> str:
    """Where the program is; a test that wants it fails with the line that installs it.

    Tests carry the mark `needs(program)`, so that ORDERSAGA_WITHOUT leaves them out.
    """
    found = shutil.which(program)
    if found is None:
        pytest.fail(
            f"{program} is missing: `apt-get install {package}`. Without it, set ORDERSAGA_WITHOUT={program}.",
            pytrace=False,
        )
    return found


def cache_folder(name: str) -> Path:
    """A folder outside the tree for what is built once."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ordersaga" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def go_program(name: str, *, module: str, version: str) -> str:
    """A program that Go builds once."""
    cache = cache_folder(f"{name}-{version}")
    program = cache / name
    if program.exists():
        return str(program)
    install = [need("go", package="golang-go"), "install", f"{module}@{version}"]
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        built = subprocess.run(install, env={**os.environ, "GOBIN": folder}, capture_output=True, text=True)
        if built.returncode != 0:
            pytest.fail(f"`{' '.join(install)}` failed:\n{built.stderr[-2_000:]}", pytrace=False)
        (Path(folder) / name).rename(program)  # whole at once, should two build it side by side
    return str(program)
