"""The wheel has everything in it: installed in an empty environment, from nowhere near the sources, parts start."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest

from sandbox.ports import free_port
from sandbox.processes import ROOT
from tests.support.identities import tls_settings

pytestmark = [pytest.mark.more, pytest.mark.timeout(1_200)]

START_SECONDS: Final = 60


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False, env=bare_environment()
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def bare_environment(**settings: str) -> dict[str, str]:
    kept = {
        name: os.environ[name] for name in os.environ if not name.startswith(("PYTHON", "VIRTUAL_ENV", "ORDERSAGA_"))
    }
    return {**kept, **settings}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment that has the wheel, and what the lock file names, and nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    run(*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT, cwd=folder)
    [wheel] = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=True)
    binaries = folder / "venv" / "bin"
    install: list[str | Path] = [binaries / "pip", "install", "--quiet", "--disable-pip-version-check"]
    run(*install, "--require-hashes", "-r", ROOT / "requirements.lock", cwd=folder)
    run(*install, "--no-deps", wheel, cwd=folder)
    return binaries


def test_everything_can_be_imported(installed: Path, tmp_path: Path) -> None:
    modules = "ordersaga.order.v1.order_pb2_grpc, workflows.order_saga, workers.order_worker, migrations.runner"
    where = run(installed / "python", "-c", f"import {modules}; print(migrations.__file__)", cwd=tmp_path)

    assert str(installed.parent) in where
    assert "OrderSaga" in run(
        installed / "python", "-c", "from workflows.order_saga import OrderSaga; print(OrderSaga)", cwd=tmp_path
    )


def test_the_command_names_its_commands(installed: Path, tmp_path: Path) -> None:
    help_text = run(installed / "ordersaga", "--help", cwd=tmp_path)

    assert all(command in help_text for command in ("serve", "setup", "audit", "repair", "replay"))


@pytest.fixture
def gateway(installed: Path, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The gateway's URL, and that of its probes; no service is there."""
    port, probe_port = free_port(), free_port()
    settings = {f"ORDERSAGA_{name.upper()}": str(value) for name, value in tls_settings().items()}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [installed / "ordersaga", "serve", "gateway"],
            cwd=tmp_path,
            env=bare_environment(ORDERSAGA_GATEWAY_PORT=str(port), ORDERSAGA_PROBE_PORT=str(probe_port), **settings),
            stdout=log,
            stderr=log,
        )
    yield f"http://127.0.0.1:{port}", f"http://127.0.0.1:{probe_port}"
    process.terminate()
    assert process.wait(START_SECONDS) == 0, (tmp_path / "log").read_text()


def test_a_part_starts_from_it(gateway: tuple[str, str]) -> None:
    url, probes = gateway
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            alive = httpx.get(f"{probes}/livez")
            break
        except httpx.ConnectError:
            assert time.monotonic() < until
            time.sleep(0.1)

    assert alive.status_code == 200
    assert httpx.get(f"{url}/docs").status_code == 200
