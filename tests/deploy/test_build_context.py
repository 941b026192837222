"""What the image is built from is what the wheel is made of, and no more."""

from __future__ import annotations

import tomllib

from sandbox.processes import ROOT


def test_the_build_gets_what_the_wheel_is_made_of_and_no_more() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    given = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}

    packages = {package for package in wheel["packages"] if not package.startswith("generated/")}
    metadata = {"pyproject.toml", "README.md", "LICENSE"}
    locks = {"requirements.lock", "requirements-build.lock"}
    assert rules[0] == "*"
    assert given == {*packages, *wheel["force-include"], *metadata, *locks, "proto"}
