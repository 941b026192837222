"""The versions as a table for people, or as JSON, and what is wrong with them in words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from runtime.temporal_deployment import Status, Version


def findings(versions: Sequence[Version]) -> list[str]:
    """What somebody has to do something about, line by line."""
    lines = []
    if not any(version.status is Status.CURRENT for version in versions):
        if versions:
            lines.append("no version gets new orders: `ordersaga deployment current VERSION`")
        else:
            lines.append("there is no version: no order worker has asked for work yet")
    return lines + [_abandoned(version) for version in versions if version.is_abandoned]


def _abandoned(version: Version) -> str:
    build_id = version.build_id
    new = [f"{version.percentage:g} % of new orders"] if version.percentage else []
    what_now = f"start one with ORDERSAGA_BUILD_ID={build_id}"
    if not new:
        what_now += f", or `ordersaga deployment drain {build_id} --to VERSION` once their histories replay there"
    return f"version {build_id} has no worker for {' and '.join([*_counts(version), *new])}: {what_now}"


def _counts(version: Version) -> list[str]:
    return [f"{number} {kind}" for kind, number in version.open.items()]


def print_versions(versions: Sequence[Version], *, as_json: bool) -> None:
    """Print them."""
    if as_json:
        print(json.dumps([asdict(version) for version in versions], indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for column in ("version", "status", "new orders", "workers", "open workflows"):
        table.add_column(column)
    for version in versions:
        share = f"{version.percentage:g} %"
        open_workflows = ", ".join(_counts(version)) or "none"
        table.add_row(version.build_id, version.status, share, str(version.workers), open_workflows)
    Console(highlight=False).print(table)
