"""Memory and threads of processes, from /proc."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a process has: memory in MB (10⁶ bytes), `pss` with its share of what it has in common with others."""

    rss: float
    pss: float
    threads: int

    @classmethod
    def of(cls, pid: int) -> Self:
        """As it is now."""
        memory = Path(f"/proc/{pid}/smaps_rollup").read_text()
        status = Path(f"/proc/{pid}/status").read_text()
        return cls(rss=_megabytes(memory, "Rss"), pss=_megabytes(memory, "Pss"), threads=_number(status, "Threads"))


def _megabytes(text: str, name: str) -> float:
    return _number(text, name) * 1_024 / 1_000_000


def _number(text: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)
    if found is None:
        raise LookupError(f"/proc says nothing of {name}")
    return int(found[1])
