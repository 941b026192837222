"""A Prometheus (Debian's, `apt-get install prometheus`) that asks a running stack, with the alerts of deploy/ in it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from sandbox.ports import address, free_port
from tests.support.programs import needed
from tests.support.prometheus import ALERTS

_DURATION: Final = re.compile(r"\b(\d+)m\b")
"""A range or an offset of an expression."""
_LIMIT: Final = re.compile(r"(?<=_seconds)((?:\{[^}]*\})?\)+ > )(\d+)")
"""What a gauge of seconds is compared with."""


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running server."""

    http: httpx.AsyncClient

    async def firing(self) -> set[str]:
        """The names of the alerts that fire."""
        alerts = (await self.http.get("/api/v1/alerts")).raise_for_status().json()["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    async def value(self, expression: str) -> float | None:
        """What an expression is now; None where there is no such series."""
        found = (await self.http.get("/api/v1/query", params={"query": expression})).raise_for_status().json()
        result = found["data"]["result"]
        return float(result[0]["value"][1]) if result else None


@asynccontextmanager
async def running_prometheus(
    folder: Path, probes: Mapping[str, str], *, haste: int, interval: float = 1
) -> AsyncIterator[Prometheus]:
    """A server that asks these processes, as long as the context is open.

    Args:
        folder: for its files.
        probes: component to the URL where its process answers.
        haste: by how much every wait and limit in seconds of the alerts is shorter than it is in deploy/.
        interval: seconds from one scrape, and evaluation, to the next.
    """
    (folder / "alerts.yaml").write_text(yaml.safe_dump(_hastened(haste)))
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(_configuration(probes, interval)))
    where = address(free_port())
    with (folder / "log").open("wb") as log:
        server = await asyncio.create_subprocess_exec(
            needed("prometheus"),
            f"--config.file={folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={where}",
            stdout=log,
            stderr=log,
        )
    try:
        async with httpx.AsyncClient(base_url=f"http://{where}", trust_env=False, timeout=30) as http:
            await _until_ready(http, server)
            yield Prometheus(http)
    finally:
        if server.returncode is None:
            server.terminate()
        await server.wait()


async def _until_ready(http: httpx.AsyncClient, server: asyncio.subprocess.Process) -> None:
    while True:
        assert server.returncode is None, "Prometheus ended"
        try:
            if (await http.get("/-/ready")).is_success:
                return
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.05)


def _configuration(probes: Mapping[str, str], interval: float) -> Mapping[str, Any]:
    targets = [
        {"targets": [url.removeprefix("http://")], "labels": {"component": component}}
        for component, url in probes.items()
    ]
    every = f"{interval * 1_000:.0f}ms"
    return {
        "global": {"scrape_interval": every, "evaluation_interval": every, "scrape_timeout": every},
        "rule_files": ["alerts.yaml"],
        "scrape_configs": [{"job_name": "ordersaga", "static_configs": targets}],
    }


def _hastened(haste: int) -> Any:
    """The alerts with shorter waits; what they say and compare is the same."""
    rules = yaml.safe_load(ALERTS.read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            expression = _DURATION.sub(lambda found: f"{int(found[1]) * 60_000 // haste}ms", rule["expr"])
            if "clock" not in expression:
                expression = _LIMIT.sub(lambda found: f"{found[1]}{int(found[2]) / haste:g}", expression)
            rule["expr"] = expression
            if "for" in rule:
                rule["for"] = f"{int(rule['for'].removesuffix('m')) * 60_000 // haste}ms"
    return rules
