"""Limits in real time that hold on a busy machine, too: what hangs is given up, and what is only slow is not."""

from __future__ import annotations

import os
from typing import Final

USUAL_LOAD: Final = 2.0
"""Processes that want to run, per core, in a usual run of the suite."""


def slowdown() -> float:
    """How many times as long as in a usual run things may take now, by the load of the last minute; 1 at least."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1) / USUAL_LOAD)
