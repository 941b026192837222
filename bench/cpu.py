"""CPU seconds of processes, from /proc."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_BACKGROUND = ("autovacuum", "background writer", "checkpointer", "logical replication", "walwriter")
"""In the titles of PostgreSQL's processes that work by themselves."""


def cpu_seconds(pids: Mapping[str, int]) -> dict[str, float]:
    """User and system time of each process and its descendants, by name; of our own process, without descendants."""
    families = _families(set(pids.values()))
    families[os.getpid()] = {os.getpid()}
    return {name: sum(_own(pid) for pid in families[pid]) for name, pid in pids.items()}


def backend_seconds(postgres: int) -> float:
    """User and system time of a PostgreSQL server's processes, without those that write and clean up by themselves."""
    found = 0.0
    for pid in _families({postgres})[postgres] - {postgres}:
        try:
            title = Path(f"/proc/{pid}/cmdline").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if not any(name in title for name in _BACKGROUND):
            found += _own(pid)
    return found


def spent(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What each used in between."""
    return {name: after[name] - before[name] for name in before}


def _own(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    times = fields[11:13] if pid == os.getpid() else fields[11:15]  # the latter with those of ended children
    return sum(int(time) for time in times) / _TICKS


def _families(roots: set[int]) -> dict[int, set[int]]:
    """Each root with all its descendants: PostgreSQL forks a process per connection."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parent = int((entry / "stat").read_text().rsplit(") ", 1)[1].split()[1])
        except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            continue
        children.setdefault(parent, []).append(int(entry.name))
    families = {}
    for root in roots:
        family, rest = {root}, [root]
        while rest:
            for child in children.get(rest.pop(), []):
                if child not in family:
                    family.add(child)
                    rest.append(child)
        families[root] = family
    return families
