"""A Temporal server as it is run in production: on PostgreSQL with TLS, and with a front end that wants certificates.

The dev server is another program on another database; this one is what a cluster is made of.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import astuple
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import yaml
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode, TLSConfig

from runtime import temporal_namespace
from runtime.settings import Settings
from runtime.temporal import connect_temporal
from sandbox.certificates import CertificateAuthority
from sandbox.child import Child, Command, run_to_completion
from sandbox.external import External
from sandbox.ports import HOST, Ports, address
from tests.support.programs import cached, go_install, needed, run
from tests.support.real.postgres import DebianPostgres

VERSION: Final = "v1.30.4"
NAMESPACE: Final = "shop"
PROFILE: Final = "production"
RETENTION: Final = timedelta(days=30)
_MODULE: Final = "go.temporal.io/server"
_STORES: Final = {"temporal": "temporal", "temporal_visibility": "visibility"}
"""Database to the folder of its schema."""
_SERVICES: Final = ("frontend", "history", "matching", "worker")
_HOST_NAME: Final = "localhost"
_READY_SECONDS: Final = 120.0
_CALL: Final = timedelta(seconds=5)


def _build(folder: Path) -> None:
    """Have Go build the server and its tool for schemas: some minutes; and keep the schemas of that version."""
    go_install(folder, f"{_MODULE}/cmd/server@{VERSION}")
    go_install(folder, f"{_MODULE}/cmd/tools/sql@{VERSION}")
    module = json.loads(run([needed("go"), "mod", "download", "-json", f"{_MODULE}@{VERSION}"]))
    shutil.copytree(Path(module["Dir"]) / "schema" / "postgresql" / "v12", folder / "schema")


class TemporalServer:
    """All four services in one process on loopback, with our namespace, as long as the context is open.

    Attributes:
        external: what of the embedded stack it stands for.
        environment: what a deployment sets to use it: a profile of Temporal's own file.
        address: of the front end.
    """

    external: Final = External.TEMPORAL

    def __init__(self, folder: Path, *, postgres: DebianPostgres, authority: CertificateAuthority) -> None:
        """Describe the server; nothing runs yet.

        Args:
            folder: private and empty.
            postgres: keeps its two databases; runs before and after it.
            authority: whom the clients trust, and who signs their certificates.
        """
        self._folder = folder
        self._postgres = postgres
        self._password = secrets.token_urlsafe(18)
        ports = iter(astuple(Ports.free()))
        self._ports = {service: {"grpcPort": next(ports), "membershipPort": next(ports)} for service in _SERVICES}
        self._child: Child | None = None
        (folder / "ca.pem").write_bytes(authority.pem)
        for name in ("server", "client"):
            certificate, key = authority.issue_for_host(_HOST_NAME)
            (folder / f"{name}.pem").write_bytes(certificate)
            (folder / f"{name}.key").write_bytes(key)
        self.address = address(self._ports["frontend"]["grpcPort"])
        (folder / "temporal.toml").write_text(self._profile())
        self.environment: Mapping[str, str] = {
            "ORDERSAGA_TEMPORAL_CONFIG_FILE": str(folder / "temporal.toml"),
            "ORDERSAGA_TEMPORAL_PROFILE": PROFILE,
        }

    @property
    def without_certificate(self) -> TLSConfig:
        """How somebody would connect who trusts the front end, and has nothing to be trusted for."""
        return TLSConfig(server_root_ca_cert=(self._folder / "ca.pem").read_bytes(), domain=_HOST_NAME)

    def settings(self) -> Settings:
        """The settings of a part that knows of nothing but Temporal."""
        return Settings(temporal_config_file=self._folder / "temporal.toml", temporal_profile=PROFILE)

    async def __aenter__(self) -> Self:
        self._programs = await asyncio.to_thread(cached, f"temporal-server-{VERSION}", _build)
        for database, schema in _STORES.items():
            await self._postgres.create_database(database, password=self._password)
            await self._set_up_schema(database, self._programs / "schema" / schema / "versioned")
        (self._folder / "server.yaml").write_text(yaml.safe_dump(self._config()))
        (self._folder / "dynamic.yaml").write_text(yaml.safe_dump(_DYNAMIC))
        try:
            await self.start()
            await self._set_up()
        except BaseException:
            await self.kill()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._child is not None:
            await self._child.stop()

    async def start(self) -> None:
        """Start it; return when the front end answers."""
        config = str(self._folder / "server.yaml")
        self._child = await Child.start(
            Command(
                name="temporal-server",
                arguments=[str(self._programs / "server"), "--config-file", config, "--allow-no-auth", "start"],
                log=self._folder / "temporal-server.log",
                environment=os.environ,
                folder=self._folder,
            ),
            append_log=True,
        )
        await self._child.wait_for(self._answers(), within=_READY_SECONDS)

    async def kill(self) -> None:
        """SIGKILL it."""
        if self._child is not None:
            await self._child.kill()

    # -- What `ordersaga setup` does in production ------------------------------------------------------------------

    async def _set_up(self) -> None:
        client = await connect_temporal(self.settings())
        await temporal_namespace.set_up(client, retention=RETENTION)
        async with asyncio.timeout(_READY_SECONDS):
            while await temporal_namespace.find_problem(client) is not None:  # noqa: ASYNC110 - in another process
                await asyncio.sleep(0.2)

    # -- The server -------------------------------------------------------------------------------------------------

    async def _answers(self) -> None:
        while True:
            try:
                await connect_temporal(self.settings())
            except RuntimeError:  # what the SDK raises when it cannot connect
                await asyncio.sleep(0.2)
            else:
                return

    async def _set_up_schema(self, database: str, versions: Path) -> None:
        options = ["--plugin", "postgres12", "--endpoint", HOST, "--port", str(self._postgres.port)]
        options += ["--user", database, "--password", self._password, "--database", database]
        options += ["--tls", "--tls-ca-file", str(self._postgres.ca_file), "--tls-server-name", _HOST_NAME]
        steps = (["setup-schema", "--version", "0.0"], ["update-schema", "--schema-dir", str(versions)])
        for step in steps:
            await run_to_completion(
                Command(
                    name=step[0],
                    arguments=[str(self._programs / "sql"), *options, *step],
                    log=self._folder / f"{step[0]}-{database}.log",
                    environment=os.environ,
                    folder=self._folder,
                ),
                within=_READY_SECONDS,
            )

    def _profile(self) -> str:
        return (
            f'[profile.{PROFILE}]\naddress = "{self.address}"\nnamespace = "{NAMESPACE}"\n'
            f"[profile.{PROFILE}.tls]\n"
            f'server_name = "{_HOST_NAME}"\nserver_ca_cert_path = "{self._folder / "ca.pem"}"\n'
            f'client_cert_path = "{self._folder / "client.pem"}"\nclient_key_path = "{self._folder / "client.key"}"\n'
        )

    def _config(self) -> dict[str, Any]:
        ours = {"certFile": str(self._folder / "server.pem"), "keyFile": str(self._folder / "server.key")}
        authority = [str(self._folder / "ca.pem")]
        server = {**ours, "requireClientAuth": True, "clientCaFiles": authority}
        client = {"serverName": _HOST_NAME, "rootCaFiles": authority}
        mutual = {"server": server, "client": client}
        return {
            "log": {"stdout": True, "level": "warn"},
            "persistence": {
                "numHistoryShards": 4,
                "defaultStore": "temporal",
                "visibilityStore": "temporal_visibility",
                "datastores": {name: {"sql": self._store(name)} for name in _STORES},
            },
            "global": {
                "membership": {"maxJoinDuration": "30s", "broadcastAddress": HOST},
                "tls": {"internode": mutual, "frontend": mutual, "systemWorker": {**ours, "client": client}},
            },
            "services": {name: {"rpc": {"bindOnIP": HOST, **ports}} for name, ports in self._ports.items()},
            "clusterMetadata": {
                "enableGlobalNamespace": False,
                "failoverVersionIncrement": 10,
                "masterClusterName": "active",
                "currentClusterName": "active",
                "clusterInformation": {
                    "active": {
                        "enabled": True,
                        "initialFailoverVersion": 1,
                        "rpcName": "frontend",
                        "rpcAddress": self.address,
                    }
                },
            },
            "dcRedirectionPolicy": {"policy": "noop"},
            "dynamicConfigClient": {"filepath": str(self._folder / "dynamic.yaml"), "pollInterval": "60s"},
        }

    def _store(self, database: str) -> dict[str, Any]:
        return {
            "pluginName": "postgres12",
            "databaseName": database,
            "connectAddr": address(self._postgres.port),
            "connectProtocol": "tcp",
            "user": database,
            "password": self._password,
            "maxConns": 20,
            "maxIdleConns": 20,
            "maxConnLifetime": "1h",
            "tls": {
                "enabled": True,
                "caFile": str(self._postgres.ca_file),
                "enableHostVerification": True,
                "serverName": _HOST_NAME,
            },
        }


_DYNAMIC: Final = {
    # search attributes that were just registered are known at once, not half a minute later
    "system.forceSearchAttributesCacheRefreshOnRead": [{"value": True}],
    "frontend.namespaceRPS": [{"value": 10_000}],
}


async def _until_taken(client: Client, attributes: AddSearchAttributesRequest) -> None:
    """Register them, once every part of the server has heard of the namespace."""
    async with asyncio.timeout(_READY_SECONDS):
        while True:
            try:
                await client.operator_service.add_search_attributes(attributes, timeout=_CALL)
            except RPCError as error:
                if error.status not in {RPCStatusCode.NOT_FOUND, RPCStatusCode.UNAVAILABLE}:
                    raise
                await asyncio.sleep(0.2)
            else:
                return
