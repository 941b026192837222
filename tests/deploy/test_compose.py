"""deploy/compose.yaml gives each part what it reads, and the secrets that are its own, and no more."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import pytest
import yaml

from cli.serve import OPTIONAL, PARTS
from runtime.identity import Part
from runtime.settings import Settings
from tests.support.compose import COMPOSE, DEPLOY, SERVICES
from tests.support.declared_calls import declared_calls
from tests.support.given_settings import missing, settings_of, superfluous

RUN: Final = (*PARTS, *OPTIONAL)
OURS: Final = ("setup", *RUN)
_SECRET: Final = re.compile(r"/run/secrets/((?:\{part\})?[\w.-]+)")


@pytest.mark.parametrize("service", OURS)
def test_it_is_given_the_settings_that_it_reads_and_no_others(service: str) -> None:
    container = SERVICES[service]
    given = settings_of(container["environment"])

    assert superfluous(container["command"], given) == set()
    assert missing(container["command"], given) == set()
    assert container["command"][0] == ("setup" if service == "setup" else "serve")


@pytest.mark.parametrize("service", OURS)
def test_our_containers_may_do_nothing_that_they_have_no_use_for(service: str) -> None:
    container = SERVICES[service]

    assert container["read_only"] is True
    assert container["user"] == "10001:10001"
    assert "tmpfs" not in container


@pytest.mark.parametrize("service", SERVICES)
def test_no_container_has_capabilities_or_can_gain_any(service: str) -> None:
    container = SERVICES[service]

    assert container["cap_drop"] == ["ALL"]
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert not {"cap_add", "privileged", "network_mode", "pid"} & container.keys()
    assert all(port.startswith("127.0.0.1:") for port in container.get("ports", []))
    assert all(volume.endswith(":ro") for volume in container.get("volumes", []) if volume.startswith("./"))


def secrets_named(service: str) -> Iterator[str]:
    """The secrets whose files a container's settings, command or configuration files name."""
    container = SERVICES[service]
    texts = [yaml.safe_dump(container.get(key)) for key in ("environment", "command", "entrypoint")]
    for volume in container.get("volumes", []):
        source = volume.partition(":")[0]
        if source.startswith("./compose/"):
            texts.append((DEPLOY / source).read_text())
    for name in _SECRET.findall("\n".join(texts)):
        yield name.replace("{part}", service)


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_has_the_secrets_that_it_reads_and_no_others(service: str) -> None:
    named = set(secrets_named(service))
    if _reads_dsn(service):  # the DSNs name the CA of the server's certificate
        named.add("servers-ca.crt")

    assert set(SERVICES[service].get("secrets", [])) == named


def _reads_dsn(service: str) -> bool:
    return any("_DSN" in name for name in SERVICES[service].get("environment", {}))


def test_every_secret_is_somebodys() -> None:
    used = {secret for container in SERVICES.values() for secret in container.get("secrets", [])}

    assert COMPOSE["secrets"].keys() == used
    assert all(source == {"file": f"./secrets/{name}"} for name, source in COMPOSE["secrets"].items())


def test_a_key_of_a_parts_certificate_is_that_parts_alone() -> None:
    parts = [part.value for part in Part if part is not Part.OPERATOR]
    keys = {f"{part}.key" for part in parts}
    holders = {(key, service) for service, one in SERVICES.items() for key in keys.intersection(one.get("secrets", []))}

    assert holders == {(f"{part}.key", part) for part in parts}


@pytest.mark.parametrize("part", RUN)
def test_a_part_is_asked_whether_it_is_ready_and_has_time_to_drain(part: str) -> None:
    container = SERVICES[part]
    environment = container["environment"]
    needs = float(environment["ORDERSAGA_DRAIN_DELAY"]) + float(environment["ORDERSAGA_SHUTDOWN_GRACE"])

    assert f"http://127.0.0.1:{environment['ORDERSAGA_PROBE_PORT']}/readyz" in container["healthcheck"]["test"][-1]
    assert float(container["stop_grace_period"].removesuffix("s")) >= needs + 10


def test_a_part_is_told_where_those_are_that_it_may_call() -> None:
    told = {
        (part, name.removeprefix("ORDERSAGA_").removesuffix("_ADDRESS").lower(), address)
        for part in RUN
        for name, address in SERVICES[part]["environment"].items()
        if name.endswith("_ADDRESS")
    }
    listens = {
        part: SERVICES[part]["environment"][f"ORDERSAGA_{part.upper()}_LISTEN"].partition(":")[2]
        for part in PARTS
        if f"{part}_listen" in Settings.model_fields
    }

    assert told == {
        (caller, callee, f"{callee}:{listens[callee]}") for caller, callee in declared_calls() if caller in RUN
    }


def test_images_have_versions() -> None:
    images = [container["image"] for container in SERVICES.values()]

    assert all(re.search(r":v?\d[\w.]*\}?$", image) for image in images)
