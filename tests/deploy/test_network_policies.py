"""The network lets a part reach exactly those that it may call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from cli.serve import PARTS
from migrations.runner import SERVICES
from runtime.identity import Part
from tests.support.declared_calls import calls_of_every_installation, declared_calls
from tests.support.given_settings import read_by
from tests.support.manifests import BASE, of_kind, render, workloads

POSTGRES, KAFKA, TEMPORAL, HTTPS, SMTP = 5432, 9093, 7233, 443, 587
REACHED_BY: Final[Mapping[str, int]] = {
    **{f"{service}_dsn": POSTGRES for service in SERVICES},
    "relay_dsns": POSTGRES,
    "kafka_bootstrap": KAFKA,
    "temporal_address": TEMPORAL,
    "stripe_api_key": HTTPS,
    "twilio_account_sid": HTTPS,
    "smtp_host": SMTP,
}
"""Whoever reads the setting connects to that port beyond the cluster."""


def policies() -> dict[str, Any]:
    """Component to its policy's spec; the one for all under an empty name."""
    found = [one["spec"] for one in of_kind(render(BASE), "NetworkPolicy")]
    return {one["podSelector"]["matchLabels"].get("app.kubernetes.io/component", ""): one for one in found}


def peers(rules: list[Any], side: str) -> set[tuple[str, int]]:
    """Component and port of each peer in the rules, on the side `from` or `to`."""
    return {
        (peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"], port["port"])
        for rule in rules
        for peer in rule.get(side, [])
        for port in rule["ports"]
    }


def port_of(part: str) -> int:
    return int(workloads(render(BASE))[part].environment()[f"ORDERSAGA_{part.upper()}_LISTEN"].rpartition(":")[2])


def test_the_declarations_were_found() -> None:
    assert {callee for _, callee in calls_of_every_installation()} == set(SERVICES)
    assert {caller for caller, _ in calls_of_every_installation()} == {
        *("gateway", "order-worker", "user", "product", "inventory", "order", "payment", "notification"),
    }


def test_everybody_has_a_policy_and_the_one_for_all_closes_both_ways() -> None:
    assert policies().keys() == {"", "setup", *PARTS}
    assert all(sorted(policy["policyTypes"]) == ["Egress", "Ingress"] for policy in policies().values())


def test_a_service_is_reached_by_exactly_those_whose_calls_it_allows() -> None:
    let_in = {
        (caller, callee, port)
        for callee, policy in policies().items()
        if callee in SERVICES
        for caller, port in peers(policy.get("ingress", []), "from")
    }

    assert let_in == {(caller, callee, port_of(callee)) for caller, callee in calls_of_every_installation()}


def test_a_part_reaches_exactly_those_that_allow_its_calls() -> None:
    let_out = {
        (caller, callee, port)
        for caller, policy in policies().items()
        if caller
        for callee, port in peers(policy.get("egress", []), "to")
    }

    assert let_out == {(caller, callee, port_of(callee)) for caller, callee in calls_of_every_installation()}


def test_a_part_is_told_the_addresses_of_those_alone_that_it_calls() -> None:
    told = {
        (part, name.removeprefix("ORDERSAGA_").removesuffix("_ADDRESS").lower())
        for part, workload in workloads(render(BASE)).items()
        for name in workload.environment()
        if name.endswith("_ADDRESS")
    }

    assert told == calls_of_every_installation()


def test_beyond_the_cluster_a_part_reaches_what_its_settings_are_about() -> None:
    for part, policy in policies().items():
        if not part:
            continue
        ports = {port["port"] for rule in policy.get("egress", []) if "to" not in rule for port in rule["ports"]}
        names = read_by(workloads(render(BASE))[part].container["args"])
        assert ports == {REACHED_BY[name] for name in names if name in REACHED_BY}, part


def test_from_anywhere_the_gateway_alone_is_reached() -> None:
    opened = {
        part: [port["port"] for rule in policy["ingress"] for port in rule["ports"]]
        for part, policy in policies().items()
        if any("from" not in rule for rule in policy.get("ingress", []))
    }

    assert opened == {"gateway": [8080]}


def test_metrics_are_read_on_the_probe_port_by_prometheus_alone() -> None:
    [rule] = policies()[""]["ingress"]
    probe_ports = {
        one.environment()["ORDERSAGA_PROBE_PORT"] for one in workloads(render(BASE)).values() if one.part != "setup"
    }

    assert {str(port["port"]) for port in rule["ports"]} == probe_ports
    assert len(rule["from"]) == 1


def test_every_part_with_an_identity_calls_or_is_called() -> None:
    assert {part.value for part in Part} == {part for pair in declared_calls() for part in pair}


def test_the_ports_beyond_the_cluster_are_those_of_the_settings() -> None:
    environment = workloads(render(BASE))["notification"].environment()

    assert environment["ORDERSAGA_KAFKA_BOOTSTRAP"].rpartition(":")[2] == str(KAFKA)
    assert environment["ORDERSAGA_SMTP_PORT"] == str(SMTP)
