"""The manifests: valid in every version of Kubernetes that they are for, and no more than each part needs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Final

import kubernetes_validate
import pytest

from cli.serve import OPTIONAL, PARTS
from domain.saga import payment_queue
from runtime.identity import Identity, Part, identity_of
from runtime.settings import Settings
from sandbox.processes import ROOT
from tests.support.given_settings import missing, settings_of, superfluous
from tests.support.manifests import BASE, EXAMPLE, KUBERNETES, Document, Workload, of_kind, render, workloads

VERSIONS: Final = ("1.27", "1.31", "1.37")
"""Of Kubernetes: the oldest that has all that the manifests use, and later ones."""
NOT_KUBERNETES: Final = ("cert-manager.io", "keda.sh", "monitoring.coreos.com")
"""API groups whose schemas are elsewhere."""
SCALERS: Final = ("HorizontalPodAutoscaler", "ScaledObject")
WORKLOADS: Final = ("setup", *PARTS)
STEPS: Final = ("databases", "temporal", "kafka", "admin")
"""What the Job sets up. Not Stripe's endpoint, whose signing secret is shown once: somebody has to keep it."""


@pytest.fixture(params=WORKLOADS)
def workload(request: pytest.FixtureRequest) -> Workload:
    return workloads(render(BASE))[request.param]


@pytest.fixture(params=PARTS)
def deployment(request: pytest.FixtureRequest) -> Workload:
    return workloads(render(BASE))[request.param]


def test_there_is_a_deployment_for_every_part_and_a_job_that_sets_up() -> None:
    found = workloads(render(BASE))

    assert found.keys() == set(WORKLOADS)
    assert {part for part, one in found.items() if one.document["kind"] == "Job"} == {"setup"}
    assert found["setup"].container["args"] == ["setup", *STEPS]
    assert all(found[part].container["args"] == ["serve", part] for part in PARTS)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_document_fits_its_schema(version: str) -> None:
    ours = [one for one in render(EXAMPLE) if not one["apiVersion"].startswith(NOT_KUBERNETES)]

    for document in ours:
        kubernetes_validate.validate(document, version, strict=True)
    assert len(ours) > len(PARTS)


def test_the_base_has_neither_a_namespace_nor_a_secret() -> None:
    assert not of_kind(render(BASE), "Namespace", "Secret")
    assert all("namespace" not in document["metadata"] for document in render(BASE))
    assert not of_kind(render(EXAMPLE), "Secret")
    assert {one["metadata"].get("namespace", "ordersaga") for one in render(EXAMPLE)} == {"ordersaga"}


def test_it_is_given_the_settings_that_it_reads_and_no_others(workload: Workload) -> None:
    given = settings_of({*workload.environment(), *workload.optional()})

    assert superfluous(workload.container["args"], given) == set()
    assert missing(workload.container["args"], given) == set()


def test_the_values_fit(workload: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for what every installation has to say itself."""
    for name, value in workload.environment().items():
        if not name.endswith("_FILE") or name.removeprefix("ORDERSAGA_").lower() in Settings.model_fields:
            monkeypatch.setenv(name, value)

    Settings.load()


def test_secrets_are_files_of_the_parts_own_secret(workload: Workload) -> None:
    """Files for what it cannot start without, so that a missing key is named; variables for what may be missing."""
    files = {
        variable: path
        for variable, path in workload.environment().items()
        if variable.endswith("_FILE") and variable.removeprefix("ORDERSAGA_").lower() not in Settings.model_fields
    }
    folder = "/run/ordersaga/secrets"
    secrets = {(secret, key) for path, secret, key in workload.folders() if path == folder}

    assert files == {
        name: f"{folder}/{name.removeprefix('ORDERSAGA_').removesuffix('_FILE').lower()}" for name in files
    }
    if files:
        assert (f"ordersaga-{workload.part}", None) in secrets
    if workload.part != "setup":
        assert secrets == ({(f"ordersaga-{workload.part}", None)} if files else set())
    assert {secret for secret, _ in workload.optional().values()} <= {
        f"ordersaga-{workload.part}",
        "ordersaga-temporal",
    }


def test_setup_takes_the_dsns_of_the_parts_and_nothing_else_of_their_secrets() -> None:
    shared = {(secret, key) for _, secret, key in workloads(render(BASE))["setup"].folders()}

    services = [part for part in PARTS if f"{part}_dsn" in Settings.model_fields]
    assert shared == {
        ("ordersaga-setup", None),
        ("ordersaga-temporal", None),
        ("ordersaga-relay", "relay_dsns"),
        *((f"ordersaga-{part}", f"{part}_dsn") for part in services),
    }


def test_a_pod_may_do_nothing_that_it_has_no_use_for(workload: Workload) -> None:
    """At least what the pod security standard `restricted` asks for, which the example's namespace enforces."""
    pod, container = workload.pod, workload.container

    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10_001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert all(volume.keys() & {"secret", "projected"} for volume in pod.get("volumes", []))
    assert all(mount["readOnly"] for mount in container.get("volumeMounts", []))
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert container["resources"]["limits"].keys() == {"memory"}  # a throttled worker counts as deadlocked


def test_a_pod_is_asked_on_its_probe_port_and_has_time_to_drain(deployment: Workload) -> None:
    container, environment = deployment.container, deployment.environment()
    ports = {port["name"]: str(port["containerPort"]) for port in container["ports"]}
    paths = {probe: container[probe]["httpGet"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}

    assert {probe: get["path"] for probe, get in paths.items()} == {
        "startupProbe": "/livez",
        "livenessProbe": "/livez",
        "readinessProbe": "/readyz",
    }
    assert {ports[get["port"]] for get in paths.values()} == {environment["ORDERSAGA_PROBE_PORT"]}
    needs = float(environment["ORDERSAGA_DRAIN_DELAY"]) + float(environment["ORDERSAGA_SHUTDOWN_GRACE"])
    assert deployment.pod["terminationGracePeriodSeconds"] >= needs + 10
    assert deployment.document["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


def test_a_service_listens_on_the_port_that_its_callers_use() -> None:
    found = workloads(render(BASE))
    services = {one["metadata"]["name"]: one["spec"] for one in of_kind(render(BASE), "Service")}
    addresses = {
        (name, value)
        for workload in found.values()
        for name, value in workload.environment().items()
        if name.endswith("_ADDRESS")
    }

    for name, address in addresses:
        part = name.removeprefix("ORDERSAGA_").removesuffix("_ADDRESS").lower()
        host, _, port = address.partition(":")
        [listed] = services[host]["ports"]
        listens = found[part].environment()[f"ORDERSAGA_{part.upper()}_LISTEN"]
        container_port = {one["name"]: one["containerPort"] for one in found[part].container["ports"]}
        assert services[host]["clusterIP"] == "None"  # so that calls are spread over all pods
        assert services[host]["selector"]["app.kubernetes.io/component"] == part
        assert (str(listed["port"]), container_port[listed["targetPort"]]) == (port, listed["port"])
        assert listens == f"0.0.0.0:{port}"


def test_there_are_always_some_of_each_part(deployment: Workload) -> None:
    budgets = {one["metadata"]["name"]: one["spec"] for one in of_kind(render(BASE), "PodDisruptionBudget")}
    budget = budgets[deployment.document["metadata"]["name"]]
    labels = deployment.document["spec"]["template"]["metadata"]["labels"]

    assert deployment.document["spec"].get("replicas", 2) >= 2
    assert budget["maxUnavailable"] == 1
    assert budget["selector"]["matchLabels"].items() <= labels.items()
    assert len(budgets) == len(PARTS)


def test_the_number_of_pods_has_one_master() -> None:
    scaled = {one["spec"]["scaleTargetRef"]["name"] for one in of_kind(render(EXAMPLE), *SCALERS)}
    fixed = {one["metadata"]["name"] for one in of_kind(render(EXAMPLE), "Deployment") if "replicas" in one["spec"]}

    assert scaled == {"ordersaga-gateway", "ordersaga-order-worker"}
    assert not scaled & fixed


def test_order_workers_are_scaled_by_their_task_queue() -> None:
    [scaled] = of_kind(render(EXAMPLE), "ScaledObject")
    [login] = of_kind(render(EXAMPLE), "TriggerAuthentication")
    triggers = scaled["spec"]["triggers"]
    default = Settings.model_fields["temporal_task_queue"].default
    worker = workloads(render(EXAMPLE))["order-worker"].environment()
    queue = worker.get("ORDERSAGA_TEMPORAL_TASK_QUEUE", default)

    assert [trigger["metadata"]["taskQueue"] for trigger in triggers] == [queue, payment_queue(queue)]
    for trigger in triggers:
        assert trigger["type"] == "temporal"
        assert trigger["metadata"]["workerDeploymentName"] == Settings.model_fields["deployment_name"].default
        assert trigger["metadata"]["workerDeploymentBuildId"] == worker["ORDERSAGA_BUILD_ID"]
        assert trigger["authenticationRef"]["name"] == login["metadata"]["name"]
    assert scaled["spec"]["minReplicaCount"] >= 2


def test_a_release_of_the_order_worker_can_have_a_deployment_of_its_own(tmp_path: Path) -> None:
    shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    kustomization = tmp_path / "kubernetes" / "example" / "kustomization.yaml"
    keda = "  - ../components/keda\n"
    kustomization.write_text(kustomization.read_text().replace(keda, f"{keda}  - ../components/worker-version\n"))

    documents = render(kustomization.parent)
    worker = workloads(documents)["order-worker"]
    name, labels = worker.document["metadata"]["name"], worker.document["spec"]["template"]["metadata"]["labels"]
    build_id = worker.environment()["ORDERSAGA_BUILD_ID"]
    [scaled] = of_kind(documents, "ScaledObject")

    assert name == f"ordersaga-order-worker-{build_id}" == scaled["metadata"]["name"]
    assert worker.document["spec"]["selector"]["matchLabels"]["app.kubernetes.io/version"] == build_id
    assert labels["app.kubernetes.io/version"] == build_id
    assert scaled["spec"]["scaleTargetRef"]["name"] == name
    assert [trigger["metadata"]["workerDeploymentBuildId"] for trigger in scaled["spec"]["triggers"]] == [build_id] * 2


def test_every_part_that_calls_or_is_called_has_a_certificate_with_exactly_its_names() -> None:
    certificates = {
        one["spec"]["secretName"]: one["spec"]
        for one in of_kind(render(EXAMPLE), "Certificate")
        if not one["spec"].get("isCA")
    }
    issuers = {one["metadata"]["name"] for one in of_kind(render(EXAMPLE), "Issuer")}
    found = workloads(render(EXAMPLE))

    parts = [part for part in Part if part.value not in OPTIONAL]
    assert certificates.keys() == {f"ordersaga-{part.value}-tls" for part in parts}
    parts.remove(Part.OPERATOR)
    for part in parts:
        certificate = certificates[f"ordersaga-{part.value}-tls"]
        mounted = {secret: path for path, secret, _ in found[part.value].folders()}
        assert certificate["dnsNames"] == [part.server_name]
        assert certificate["uris"] == [part.spiffe_id]
        assert {"server auth", "client auth"} <= set(certificate["usages"])
        assert mounted[certificate["secretName"]] == "/run/ordersaga/tls"
        assert certificate["issuerRef"]["name"] in issuers
    assert not any(secret.endswith("-tls") for _, secret, _ in found["relay"].folders())


def test_an_operator_has_a_certificate_that_names_whom_and_is_in_no_pod() -> None:
    [certificate] = [
        one["spec"]
        for one in of_kind(render(EXAMPLE), "Certificate")
        if one["spec"]["secretName"] == "ordersaga-operator-tls"
    ]
    mounted = {secret for one in workloads(render(EXAMPLE)).values() for _, secret, _ in one.folders()}

    [uri] = certificate["uris"]
    assert identity_of(uri) == Identity(Part.OPERATOR, "on-call")
    assert "client auth" in certificate["usages"]
    assert certificate["secretName"] not in mounted


def test_what_is_selected_is_labelled() -> None:
    pods = [one.document["spec"]["template"]["metadata"]["labels"] for one in workloads(render(BASE)).values()]
    selectors: list[Document] = [
        *(one["spec"]["selector"] for one in of_kind(render(BASE), "Service")),
        *(one["spec"]["selector"]["matchLabels"] for one in of_kind(render(BASE), "Deployment", "PodDisruptionBudget")),
        *(one["spec"]["podSelector"]["matchLabels"] for one in of_kind(render(BASE), "NetworkPolicy")),
    ]

    assert all(any(selector.items() <= labels.items() for labels in pods) for selector in selectors)


def test_the_page_on_operations_says_what_is_in_each_secret() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    listed = set(re.findall(r"^ *\| `(ordersaga-\w+)` \| `([\w.]+)` \|", text, re.MULTILINE))
    used: set[tuple[str, str]] = {("ordersaga-temporal", "api_key")}
    for workload in workloads(render(BASE)).values():
        used |= set(workload.optional().values())
        whole = {path: secret for path, secret, key in workload.folders() if key is None}
        picked = {key for _, _, key in workload.folders()}
        for path in workload.environment().values():
            folder, _, key = path.rpartition("/")
            if folder in whole and key not in picked and not whole[folder].endswith("-tls"):
                used.add((whole[folder], key))

    assert listed == used
