"""The component that adds the codec server to an installation: as strict as the base, with what the part reads."""

from __future__ import annotations

import os
from pathlib import Path

import kubernetes_validate
import pytest

from cli.serve import OPTIONAL
from runtime.identity import Part
from runtime.settings import Settings
from tests.support.declared_calls import declared_calls
from tests.support.given_settings import missing, settings_of, superfluous
from tests.support.manifests import BASE, KUBERNETES, Document, Workload, of_kind, render, workloads

NAME = Part.CODEC_SERVER.value


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base with the component."""
    folder = tmp_path_factory.mktemp("installation").resolve()
    base, component = (os.path.relpath(path, folder) for path in (BASE, KUBERNETES / "components" / NAME))
    kustomization = f"resources: [{base}]\ncomponents: [{component}]\n"
    (folder / "kustomization.yaml").write_text(kustomization)
    return folder


@pytest.fixture
def workload(installation: Path) -> Workload:
    return workloads(render(installation))[NAME]


def added(installation: Path) -> list[Document]:
    """What the base has not."""
    there = {(one["kind"], one["metadata"]["name"]) for one in render(BASE)}
    return [one for one in render(installation) if (one["kind"], one["metadata"]["name"]) not in there]


def test_it_adds_the_part_and_nothing_else(installation: Path) -> None:
    assert sorted(one["kind"] for one in added(installation)) == [
        *("Certificate", "ConfigMap", "Deployment", "NetworkPolicy", "NetworkPolicy", "Service"),
    ]
    for document in added(installation):
        if document["kind"] != "Certificate":  # cert-manager's, whose schema is elsewhere
            kubernetes_validate.validate(document, "1.27", strict=True)


def test_it_is_given_the_settings_that_it_reads_and_no_others(
    workload: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = workload.environment()
    given = settings_of(environment)

    assert superfluous(workload.container["args"], given) == set()
    assert missing(workload.container["args"], given) == set()
    for name, value in environment.items():
        if name != "ORDERSAGA_TEMPORAL_PAYLOAD_KEYS_FILE":
            monkeypatch.setenv(name, value)
    assert Settings.load().codec_host == "0.0.0.0"  # noqa: S104 - inside its pod


def test_it_may_do_no_more_than_the_parts_of_the_base(workload: Workload) -> None:
    other = workloads(render(BASE))["gateway"]

    for name in ("securityContext", "automountServiceAccountToken", "terminationGracePeriodSeconds"):
        assert workload.pod[name] == other.pod[name]
    for name in ("securityContext", "startupProbe", "livenessProbe", "readinessProbe", "image"):
        assert workload.container[name] == other.container[name]
    assert all(mount["readOnly"] for mount in workload.container["volumeMounts"])


def test_it_has_a_certificate_of_its_own(installation: Path, workload: Workload) -> None:
    [certificate] = of_kind(render(installation), "Certificate")
    spec = certificate["spec"]

    assert (spec["dnsNames"], spec["uris"]) == ([Part.CODEC_SERVER.server_name], [Part.CODEC_SERVER.spiffe_id])
    assert ("/run/ordersaga/tls", spec["secretName"], None) in set(workload.folders())


def test_it_reaches_the_services_that_let_it_in_and_they_open_to_it(installation: Path) -> None:
    policies = [one["spec"] for one in added(installation) if one["kind"] == "NetworkPolicy"]
    component = "app.kubernetes.io/component"
    let_out = {
        (peer["podSelector"]["matchLabels"][component], port["port"])
        for policy in policies
        for rule in policy.get("egress", [])
        for peer in rule["to"]
        for port in rule["ports"]
    }
    let_in = {
        (policy["podSelector"]["matchLabels"][component], port["port"])
        for policy in policies
        for rule in policy.get("ingress", [])
        if any(peer["podSelector"]["matchLabels"][component] == NAME for peer in rule.get("from", []))
        for port in rule["ports"]
    }

    assert {callee for caller, callee in declared_calls() if caller in OPTIONAL} == {callee for callee, _ in let_out}
    assert let_in == let_out
