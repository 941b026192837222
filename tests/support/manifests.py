"""The manifests of deploy/kubernetes as a cluster gets them, and what each part is given there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from sandbox.processes import ROOT

KUBERNETES: Final = ROOT / "deploy" / "kubernetes"
EXAMPLE: Final = KUBERNETES / "example"
"""Base and components, as an installation puts them together."""
BASE: Final = KUBERNETES / "base"

Document = Mapping[str, Any]


@cache
def render(folder: Path) -> Sequence[Document]:
    """What `kubectl apply --kustomize` would send."""
    kubectl = Path(sys.executable).with_name("kubectl")
    if not kubectl.exists():
        pytest.fail("kubectl is missing: `make test` installs it, from requirements-deploy.lock", pytrace=False)
    done = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def of_kind(documents: Sequence[Document], *kinds: str) -> list[Document]:
    """Those of these kinds."""
    return [document for document in documents if document["kind"] in kinds]


@dataclass(frozen=True, slots=True)
class Workload:
    """A Deployment or a Job, which has one container, and what is referred to from there."""

    document: Document
    documents: Sequence[Document]

    @property
    def part(self) -> str:
        """Which part it runs; `setup` for the Job."""
        return str(self.document["metadata"]["labels"]["app.kubernetes.io/component"])

    @property
    def pod(self) -> Document:
        """Its pod's spec."""
        spec: Document = self.document["spec"]["template"]["spec"]
        return spec

    @property
    def container(self) -> Document:
        """Its container."""
        [container] = self.pod["containers"]
        found: Document = container
        return found

    def environment(self) -> dict[str, str]:
        """Its variables, but for those that a Secret has, or has not."""
        maps = {document["metadata"]["name"]: document["data"] for document in of_kind(self.documents, "ConfigMap")}
        found: dict[str, str] = {}
        for source in self.container.get("envFrom", []):
            found |= maps[source["configMapRef"]["name"]]
        return found | {entry["name"]: entry["value"] for entry in self.container.get("env", []) if "value" in entry}

    def optional(self) -> dict[str, tuple[str, str]]:
        """Variable to the Secret and the key that it comes from, when they are there."""
        sources = {
            entry["name"]: entry["valueFrom"]["secretKeyRef"]
            for entry in self.container.get("env", [])
            if "valueFrom" in entry
        }
        assert all(source["optional"] for source in sources.values())
        return {name: (source["name"], source["key"]) for name, source in sources.items()}

    def folders(self) -> Iterator[tuple[str, str, str | None]]:
        """Where which Secret's keys are files, and which key if not all of them."""
        volumes = {volume["name"]: volume for volume in self.pod.get("volumes", [])}
        for mount in self.container.get("volumeMounts", []):
            volume = volumes[mount["name"]]
            if "secret" in volume:
                yield mount["mountPath"], volume["secret"]["secretName"], None
                continue
            for source in volume["projected"]["sources"]:
                keys = [item["key"] for item in source["secret"].get("items", [])] or [None]
                for key in keys:
                    yield mount["mountPath"], source["secret"]["name"], key


def workloads(documents: Sequence[Document]) -> dict[str, Workload]:
    """Part to what runs it."""
    found = [Workload(document, documents) for document in of_kind(documents, "Deployment", "Job")]
    return {workload.part: workload for workload in found}
