"""Prometheus's own tool reads the alerts, their tests and the dashboard's queries (`apt-get install prometheus`)."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.support.prometheus import ALERTS, PROMETHEUS, promtool, queries, rules

pytestmark = [pytest.mark.more, pytest.mark.needs("prometheus")]


def test_the_alerts_and_the_configuration_are_valid() -> None:
    checked = promtool("check", "config", PROMETHEUS / "prometheus.yaml")

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_alerts_fire_when_they_should_and_not_before() -> None:
    tested = promtool("test", "rules", PROMETHEUS / "alerts.test.yaml")

    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_every_alert_has_a_test_in_which_it_fires() -> None:
    cases = yaml.safe_load((PROMETHEUS / "alerts.test.yaml").read_text())["tests"]
    firing = {
        sample["labels"]
        for case in cases
        for expected in case["promql_expr_test"]
        for sample in expected["exp_samples"]
    }

    assert not [rule["alert"] for rule in rules() if not any(f'alertname="{rule["alert"]}"' in one for one in firing)]


def test_a_threshold_that_is_moved_is_noticed(tmp_path: Path) -> None:
    text = ALERTS.read_text()
    (tmp_path / "alerts.yaml").write_text(text.replace('_age_seconds{status="RECEIVED"}) > 60', "_age_seconds) > 600"))
    (tmp_path / "alerts.test.yaml").write_text((PROMETHEUS / "alerts.test.yaml").read_text())

    tested = promtool("test", "rules", tmp_path / "alerts.test.yaml")

    assert tested.returncode == 1
    assert "OrdersDoNotStart" in tested.stdout + tested.stderr


def test_every_query_of_the_dashboard_is_promql(tmp_path: Path) -> None:
    recorded = [{"record": "query", "labels": {"at": where}, "expr": query} for where, query in queries().items()]
    path = tmp_path / "queries.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": recorded}]}))

    checked = promtool("check", "rules", path)

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(recorded)} rules found" in checked.stdout
