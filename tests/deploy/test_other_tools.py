"""The tools that people deploy with read the files as our tests do."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests.support.compose import COMPOSE, DEPLOY
from tests.support.manifests import BASE, EXAMPLE, render
from tests.support.programs import cached, go_install, needed

pytestmark = pytest.mark.more

PACKAGE: Final = "sigs.k8s.io/kustomize/kustomize/v5"
KUSTOMIZE: Final = "v5.7.1"


@pytest.mark.needs("go")
@pytest.mark.parametrize("folder", [BASE, EXAMPLE], ids=lambda folder: folder.name)
def test_kustomize_renders_what_kubectl_does(folder: Path) -> None:
    tools = cached(f"kustomize-{KUSTOMIZE}", lambda cache: go_install(cache, f"{PACKAGE}@{KUSTOMIZE}"))

    done = subprocess.run([tools / "kustomize", "build", folder], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert list(yaml.safe_load_all(done.stdout)) == render(folder)


@pytest.mark.needs("docker-compose")
def test_compose_understands_the_file() -> None:
    """Version 1 of it, which is the one that Debian has; the second reads more, and all of this."""
    command = [str(needed("docker-compose")), "--file", str(DEPLOY / "compose.yaml"), "config"]

    done = subprocess.run(
        command, env={**os.environ, "ORDERSAGA_JWT_PUBLIC_KEYS": '{"keys": []}'}, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    read = yaml.safe_load(done.stdout)
    assert read["services"].keys() == COMPOSE["services"].keys()
    for name, service in read["services"].items():
        written = COMPOSE["services"][name]
        assert service.get("environment", {}).keys() == written.get("environment", {}).keys()
        assert {secret["source"] for secret in service.get("secrets", [])} == set(written.get("secrets", []))
    assert read["services"]["gateway"]["environment"]["ORDERSAGA_JWT_PUBLIC_KEYS"] == '{"keys": []}'
    assert read["services"]["notification"]["environment"]["ORDERSAGA_SMTP_HOST"] == "mail"
