"""The alerts and the dashboard of deploy/, the metrics that they read, and those that the code has."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from prometheus_client import REGISTRY

from sandbox.processes import ROOT
from tests.support.programs import needed

PROMETHEUS: Final = ROOT / "deploy" / "prometheus"
ALERTS: Final = PROMETHEUS / "alerts.yaml"
DASHBOARD: Final[Mapping[str, Any]] = json.loads((ROOT / "deploy" / "grafana" / "ordersaga.json").read_text())

_METRIC: Final = re.compile(r"\b(?:ordersaga|temporal|db_client|http_server|rpc_server|process)_[a-z_]+\b")
_STRING: Final = re.compile(r'"[^"]*"')
_GROUPING: Final = re.compile(r"\b(?:by|without|on|ignoring) \([^)]*\)")
_LABELS: Final = re.compile(r"\b\w+(?==~?\"|!=|!~)")


def rules() -> list[Mapping[str, Any]]:
    """Every alert."""
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def panels() -> list[Mapping[str, Any]]:
    """Every panel of the dashboard, rows included."""
    return list(DASHBOARD["panels"])


def queries() -> dict[str, str]:
    """Every query of the dashboard, by where it stands, with Grafana's own variables replaced."""
    return {
        f"{panel['title']} {target['refId']}": target["expr"].replace("$__rate_interval", "5m")
        for panel in panels()
        for target in panel.get("targets", [])
    }


def metrics_in(expression: str) -> set[str]:
    """The metrics that an expression of PromQL reads."""
    without_labels = _LABELS.sub("", _GROUPING.sub("", expression))
    return set(_METRIC.findall(_STRING.sub("", without_labels)))


def our_metrics() -> set[str]:
    """Every series that our code can show, and those of the process that the library adds."""
    importlib.import_module("runtime.metrics")
    return set(_series())


def _series() -> Iterator[str]:
    for metric in REGISTRY.collect():
        match metric.type:
            case "counter":
                yield f"{metric.name}_total"
            case "histogram":
                yield from (f"{metric.name}_{suffix}" for suffix in ("bucket", "count", "sum"))
            case _:
                yield metric.name


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run promtool."""
    return subprocess.run([needed("promtool"), *arguments], capture_output=True, text=True, cwd=PROMETHEUS)
