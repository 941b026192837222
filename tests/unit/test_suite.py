"""The suite's own settings."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]

CONFTEST = """
import pytest

@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_teardown(item):
    yield
    if item.name == "test_first":
        raise RuntimeError("its teardown failed")
"""
TESTS = """
def test_first():
    pass

def test_second():
    pass
"""


def test_a_failed_teardown_hides_none_of_the_other_tests(tmp_path: Path) -> None:
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    warnings = "\n    ".join(options["filterwarnings"])
    scopes = "\n".join(f"{name} = {value}" for name, value in options.items() if name.startswith("asyncio"))
    (tmp_path / "pytest.ini").write_text(f"[pytest]\n{scopes}\nfilterwarnings =\n    {warnings}\n")
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_two.py").write_text(TESTS)

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:randomly", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert "INTERNALERROR" not in done.stdout + done.stderr
    assert "2 passed" in done.stdout
    assert "1 error" in done.stdout
