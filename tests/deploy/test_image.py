"""The image, built and run: every part starts from it as the manifests have it, and stops when it is told to."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import httpx
import pytest

from migrations.runner import SERVICES
from runtime.settings import Settings
from sandbox.child import Child, run_to_completion
from sandbox.environment import process_environment
from sandbox.ports import HOST, POLL_SECONDS, free_port
from sandbox.supervisor import Stack
from tests.support.client import running_stack
from tests.support.given_settings import readers
from tests.support.image import Image, built_image
from tests.support.manifests import BASE, Workload, render, workloads

pytestmark = [
    pytest.mark.more,
    pytest.mark.long,
    pytest.mark.timeout(1_800),
    *(pytest.mark.needs(program) for program in ("buildah", "debootstrap")),
]

USER: Final = 10_001
"""Who the manifests say it is."""
START_SECONDS: Final = 120
STOP_SECONDS: Final = 40
BUILD_TOOLS: Final = ("pip", "pip3", "gcc", "cc", "make", "uv", "hatch")
UNUSED_SECRET: Final = "unused"
"""Of the embedded stack's servers, which ask for no login."""
MOUNTED: Final = "/run/ordersaga"
EMBEDDED: Final = tuple(
    f"ORDERSAGA_{name}"
    for name in (
        *("KAFKA_BOOTSTRAP", "KAFKA_IDEMPOTENCE", "SMTP_HOST", "SMTP_PORT", "SMTP_TLS", "STRIPE_API_BASE"),
        *("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_SENDER", "TWILIO_API_BASE", "JWT_PUBLIC_KEYS"),
        *(f"{service.upper()}_ADDRESS" for service in SERVICES),
    )
)
"""What an installation says, which is the embedded stack here."""


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    with built_image() as image:
        yield image


async def test_every_part_runs_from_the_image_as_the_manifests_have_it(
    image: Image, tmp_path: Path, subtests: pytest.Subtests, record_property: Callable[[str, object], None]
) -> None:
    """One test, so that the image is built once."""
    record_property("figure", f"image: {image.size / 1e6:.0f} MB over a base of {image.base_size / 1e6:.0f} MB")
    with subtests.test("what is in it"):
        check_contents(image)
    async with running_stack(tmp_path / "var") as client:
        for part, workload in workloads(render(BASE)).items():
            with subtests.test(part):
                folder = tmp_path / part
                folder.mkdir()
                if part == "setup":
                    await set_up(image, workload, client.stack, folder)
                else:
                    megabytes, seconds = await serve(image, workload, client.stack, folder)
                    record_property("figure", f"image: {part} ready after {seconds:.1f} s, with {megabytes:.0f} MB")


def check_contents(image: Image) -> None:
    found = {
        path.name
        for folder in ("usr/bin", "usr/local/bin", "opt/ordersaga/bin")
        for path in image.root.glob(f"{folder}/*")
    }
    [site_packages] = image.root.glob("opt/ordersaga/lib/python3*/site-packages")

    assert image.config["User"] == f"{USER}:{USER}"
    assert image.config["Entrypoint"] == ["ordersaga"]
    assert not found.intersection(BUILD_TOOLS)
    assert "ordersaga" in found
    assert not [*image.root.glob("root/.cache/*"), *image.root.glob("src/*"), *image.root.glob("wheels/*")]
    assert not any(
        (site_packages / name).exists() for name in ("pip", "setuptools", "hatchling", "grpc_tools", "tests")
    )
    assert list(site_packages.glob("migrations/*/versions/*.py"))
    assert list(site_packages.glob("ordersaga/order/v1/order_pb2.py"))
    assert list(site_packages.glob("api/__pycache__/server.*.pyc"))  # nobody can write byte code later


async def set_up(image: Image, workload: Workload, stack: Stack, folder: Path) -> None:
    command = image.command(
        "setup",
        *workload.container["args"],
        files=write_files(workload, stack, folder),
        environment=environment_of(workload, stack),
        log=folder / "log",
        grace=STOP_SECONDS,
    )

    await run_to_completion(command, within=START_SECONDS)

    log = (folder / "log").read_text()
    assert all(f"{step}: " in log for step in workload.container["args"][1:])
    assert "databases: up to date" in log


async def serve(image: Image, workload: Workload, stack: Stack, folder: Path) -> tuple[float, float]:
    """Start a part, ask it how it is, stop it: its memory when ready, MB, and the seconds until then."""
    probe_port, files = free_port(), write_files(workload, stack, folder)
    environment = {**environment_of(workload, stack), "ORDERSAGA_PROBE_PORT": str(probe_port)}
    run = partial(image.command, files=files, environment=environment, grace=STOP_SECONDS)
    doctor = run("doctor", "doctor", workload.part, log=folder / "doctor")
    began = time.monotonic()
    child = await Child.start(run(workload.part, *workload.container["args"], log=folder / "log"))
    try:
        async with httpx.AsyncClient(base_url=f"http://{HOST}:{probe_port}", trust_env=False) as probes:
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                path = workload.container[probe]["httpGet"]["path"]
                await child.wait_for(until_ok(probes, path), within=START_SECONDS)
        seconds = time.monotonic() - began
        await run_to_completion(doctor, within=START_SECONDS)
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{child.pid}/status").read_text().splitlines() if ":\t" in line
        )
    finally:
        await child.stop()

    assert status["Uid"].split() == [str(USER)] * 4
    assert {status[name].strip("0") for name in ("CapInh", "CapPrm", "CapEff", "CapBnd")} == {""}
    assert status["NoNewPrivs"] == "1"
    assert await child.wait() == 0, child.tail()
    return int(status["VmRSS"].split()[0]) / 1_024, seconds


async def until_ok(probes: httpx.AsyncClient, path: str) -> None:
    while True:
        try:
            if (await probes.get(path)).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:  # it does not listen yet
            pass
        await asyncio.sleep(POLL_SECONDS)


def environment_of(workload: Workload, stack: Stack) -> dict[str, str]:
    """The manifests' variables, but for what is elsewhere on this machine."""
    given, environment = of_stack(stack, workload), workload.environment()
    environment |= {name: given[name] for name in EMBEDDED if name in given}
    for name in environment:
        if name.endswith("_LISTEN"):
            environment[name] = f"{HOST}:{free_port()}"
    here = {
        "ORDERSAGA_PROBE_HOST": HOST,
        "ORDERSAGA_DRAIN_DELAY": "1",
        "ORDERSAGA_GATEWAY_PORT": str(free_port()),
        "ORDERSAGA_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",
    }
    return environment | {name: value for name, value in here.items() if name in environment}


def of_stack(stack: Stack, workload: Workload) -> dict[str, str]:
    """The same settings in the embedded stack, as variables."""
    return process_environment(stack.settings, *readers(workload.container["args"]))


def write_files(workload: Workload, stack: Stack, folder: Path) -> Path:
    """What the manifests mount below /run/ordersaga, readable as a kubelet makes it: for the pod's group alone."""
    files, given = folder / "files", of_stack(stack, workload)
    files.mkdir()
    for path, _, _ in workload.folders():
        (files / Path(path).name).mkdir(exist_ok=True)
    for name, path in workload.environment().items():
        if path.startswith(f"{MOUNTED}/"):
            setting = name.removeprefix("ORDERSAGA_").lower()
            content = (
                of_file(setting, workload, stack)
                if setting in Settings.model_fields
                else given.get(name.removesuffix("_FILE"), UNUSED_SECRET)
            )
            (files / Path(path).relative_to(MOUNTED)).write_text(content)
    for found in files.rglob("*"):
        os.chown(found, 0, USER)
        found.chmod(0o750 if found.is_dir() else 0o440)
    return files


def of_file(setting: str, workload: Workload, stack: Stack) -> str:
    """What is in a file that is no secret's."""
    if setting == "temporal_config_file":
        settings = stack.settings
        return (
            f'[profile.default]\naddress = "{settings.temporal_address}"\nnamespace = "{settings.temporal_namespace}"\n'
        )
    return Path(getattr(stack.settings, setting).replace("{part}", workload.part)).read_text()
