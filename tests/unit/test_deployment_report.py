"""What `ordersaga deployment` says of versions, in words."""

from __future__ import annotations

import json

import pytest

from cli.deployment.report import findings, print_versions
from runtime.temporal_deployment import Status, Version

CURRENT = Version(build_id="2", status=Status.CURRENT, percentage=100, workers=2)
DRAINING = Version(build_id="1", status=Status.DRAINING, percentage=0, open={"OrderSaga": 3}, workers=1)


def test_versions_with_workers_for_what_they_have_to_do_are_well() -> None:
    drained = Version(build_id="0", status=Status.DRAINED, percentage=0)

    assert findings([CURRENT, DRAINING, drained]) == []


def test_open_orders_on_a_version_without_workers_are_a_finding_that_says_what_to_do() -> None:
    abandoned = Version(build_id="1", status=Status.DRAINING, percentage=0, open={"OrderSaga": 3})

    [line] = findings([CURRENT, abandoned])
    assert line == (
        "version 1 has no worker for 3 OrderSaga: start one with ORDERSAGA_BUILD_ID=1, or "
        "`ordersaga deployment drain 1 --to VERSION` once their histories replay there"
    )


def test_new_orders_for_a_version_without_workers_are_a_finding() -> None:
    nobody = Version(build_id="2", status=Status.CURRENT, percentage=100)

    assert findings([nobody]) == [
        "version 2 has no worker for 100 % of new orders: start one with ORDERSAGA_BUILD_ID=2"
    ]


def test_no_version_at_all_and_none_that_gets_new_orders_are_findings() -> None:
    inactive = Version(build_id="1", status=Status.INACTIVE, percentage=0, workers=1)

    assert findings([]) == ["there is no version: no order worker has asked for work yet"]
    assert findings([inactive]) == ["no version gets new orders: `ordersaga deployment current VERSION`"]


def test_people_get_a_table_and_scripts_get_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_versions([CURRENT, DRAINING], as_json=False)
    head, current, draining = (line.split() for line in capsys.readouterr().out.splitlines())
    print_versions([CURRENT, DRAINING], as_json=True)
    found = json.loads(capsys.readouterr().out)

    assert head == ["version", "status", "new", "orders", "workers", "open", "workflows"]
    assert current == ["2", "current", "100", "%", "2", "none"]
    assert draining == ["1", "draining", "0", "%", "1", "3", "OrderSaga"]
    assert [(version["build_id"], version["open"]) for version in found] == [("2", {}), ("1", {"OrderSaga": 3})]
