"""Programs that nobody here wrote: found on this machine, or made once into a cache outside the tree."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

import pytest

_INSTALL: Final = {
    "java": ("java", "default-jre-headless"),
    "mvn": ("java", "maven"),
    "go": ("go", "golang-go"),
    "exim4": ("exim", "exim4-daemon-light"),
    "buildah": ("buildah", "buildah"),
    "debootstrap": ("buildah", "debootstrap"),
    "docker-compose": ("docker-compose", "docker-compose"),
    "openssl": ("openssl", "openssl"),
    "promtool": ("prometheus", "prometheus"),
    "prometheus": ("prometheus", "prometheus"),
}
"""Program to its name in ORDERSAGA_WITHOUT, and to Debian's package of it."""
_OLDEST_GO: Final = 21


def needed(program: str) -> Path:
    """Where the program is; the test fails without it, and says how to get it or how to do without."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if found is None:
        without, package = _INSTALL[program]
        missing(program, f"apt-get install {package}", without=without)
    return Path(found)


def missing(program: str, install: str, *, without: str) -> NoReturn:
    """Fail the test for want of a program."""
    message = f"{program} is missing: `{install}`. Without it, set ORDERSAGA_WITHOUT={without}."
    pytest.fail(message, pytrace=False)


def cached(name: str, make: Callable[[Path], None]) -> Path:
    """A folder in the cache, made by `make` where it is not there: whole or not at all, by one process at a time."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ordersaga"
    home.mkdir(parents=True, exist_ok=True)
    folder = home / name
    with (home / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            with tempfile.TemporaryDirectory(prefix=f"{name}.", dir=home) as draft:
                (made := Path(draft) / "made").mkdir()
                make(made)
                made.rename(folder)
    return folder


def run(command: Sequence[str | Path], *, environment: Mapping[str, str] | None = None) -> str:
    """What a command that ends by itself prints; the test fails with its last words if it fails."""
    done = subprocess.run(command, env={**os.environ, **(environment or {})}, capture_output=True, text=True)
    if done.returncode != 0:
        words = (done.stdout + done.stderr)[-2_000:]
        pytest.fail(f"`{' '.join(map(str, command))}` failed:\n{words}", pytrace=False)
    return done.stdout


def go_install(folder: Path, package: str) -> None:
    """Have Go build a program into the folder; its module's checksum is Go's own to check."""
    go = needed("go")
    version = re.search(r"go1\.([0-9]+)", run([go, "version"]))
    if version is None or int(version[1]) < _OLDEST_GO:
        pytest.fail(
            f"{go} is older than 1.{_OLDEST_GO}, which is the first that fetches the version a program wants: install "
            "one from https://go.dev/dl. Without it, set ORDERSAGA_WITHOUT=go.",
            pytrace=False,
        )
    run([go, "install", package], environment={"GOBIN": str(folder)})
