"""The `ordersaga` command, as it is called: a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from sandbox.processes import ROOT
from tests.support.busy_machine import slowdown

_SECONDS: Final = 120.0


def ordersaga(
    *arguments: str, environment: Mapping[str, str], typed: str = "", root: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Run it to its end, in this environment alone; `typed` is what somebody types, `root` where its code is."""
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        cwd=root,
        env=dict(environment),
        input=typed,
        capture_output=True,
        text=True,
        timeout=_SECONDS * slowdown(),
        check=False,
    )
