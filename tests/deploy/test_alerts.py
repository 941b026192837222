"""The alerts: each says what to do, and reads metrics that there are; so does the dashboard."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any, Final

import pytest
import yaml

from cli.serve import PARTS
from sandbox.processes import ROOT
from tests.support.manifests import EXAMPLE, of_kind, render
from tests.support.prometheus import ALERTS, DASHBOARD, PROMETHEUS, metrics_in, our_metrics, panels, queries, rules

DOCS: Final = ROOT / "docs"
OF_THE_SDK: Final = {
    "temporal_workflow_task_execution_failed_total",
    "temporal_worker_task_slots_available",
    "temporal_request_failure_total",
}
"""What the Temporal SDK counts; tests/chaos/test_alerts.py sees them on a running stack."""


def anchors() -> set[str]:
    """The headings of the runbook, as GitHub makes anchors of them."""
    headings = [
        heading
        for page in DOCS.glob("runbook*.md")
        for heading in re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    ]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_how_urgent_it_is_what_is_wrong_and_what_to_do(rule: dict[str, Any]) -> None:
    notes = rule["annotations"]
    page, _, anchor = notes["runbook_url"].partition("#")

    assert rule["labels"]["severity"] in ("critical", "warning")
    assert notes.keys() == {"summary", "description", "runbook_url"}
    assert "Next:" in notes["description"]
    assert page == "docs/runbook.md"
    assert anchor in anchors()


def test_alerts_have_names_of_their_own_and_a_place_in_the_runbook() -> None:
    names = [rule["alert"] for rule in rules()]
    pages = "".join(page.read_text() for page in DOCS.glob("runbook*.md"))

    assert len(set(names)) == len(names)
    assert not [name for name in names if not re.search(rf"\b{name}\b", pages)]


def test_alerts_read_metrics_that_there_are() -> None:
    read = {metric for rule in rules() for metric in metrics_in(rule["expr"])}

    assert len(read) > 20
    assert read <= our_metrics() | OF_THE_SDK


def test_every_part_is_missed() -> None:
    [missing] = [rule for rule in rules() if rule["alert"] == "PartMissing"]

    assert set(re.findall(r'component="([\w-]+)"', missing["expr"])) == set(PARTS)


def test_a_cluster_has_the_same_alerts_and_asks_every_pod() -> None:
    [in_cluster] = of_kind(render(EXAMPLE), "PrometheusRule")
    [monitor] = of_kind(render(EXAMPLE), "PodMonitor")
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]

    assert in_cluster["spec"] == yaml.safe_load(ALERTS.read_text()), "make alerts"
    assert endpoint["port"] == "probes"
    assert [(one["targetLabel"]) for one in endpoint["relabelings"]] == ["component"]


def test_prometheus_asks_every_part_of_the_compose_file() -> None:
    config = yaml.safe_load((PROMETHEUS / "prometheus.yaml").read_text())
    [job] = config["scrape_configs"]
    [targets] = job["static_configs"]

    assert config["rule_files"] == [ALERTS.name]
    assert job["job_name"] == "ordersaga"
    assert {target.partition(":")[0] for target in targets["targets"]} == set(PARTS)


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    """Its JSON model: https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/."""
    ids = [panel["id"] for panel in panels()]
    [variable] = DASHBOARD["templating"]["list"]

    assert {"uid", "title", "schemaVersion", "version", "time", "panels", "templating"} <= DASHBOARD.keys()
    assert len(set(ids)) == len(ids)
    assert (variable["name"], variable["type"], variable["query"]) == ("datasource", "datasource", "prometheus")
    for panel in panels():
        assert panel["title"]
        if panel["type"] == "row":
            continue
        assert panel["type"] in ("timeseries", "stat")
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["fieldConfig"]["defaults"]["unit"]
        refs = [target["refId"] for target in panel["targets"]]
        assert refs == sorted(set(refs))
        assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])


def test_no_panel_lies_on_another() -> None:
    for one, other in combinations([panel["gridPos"] for panel in panels()], 2):
        assert (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        ), (one, other)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels())


def test_the_dashboard_reads_metrics_that_there_are() -> None:
    read = {metric for query in queries().values() for metric in metrics_in(query)}

    assert len(read) > 30
    assert read <= our_metrics() | OF_THE_SDK


def test_everything_that_is_measured_is_shown_or_alerted() -> None:
    read = {
        metric
        for expression in [*queries().values(), *(rule["expr"] for rule in rules())]
        for metric in metrics_in(expression)
    }
    ours = {name for name in our_metrics() if name.startswith(("ordersaga_", "db_client_", "http_", "rpc_"))}

    stems = {name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum") for name in ours - read}
    shown = {name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum") for name in read}
    assert stems <= shown
