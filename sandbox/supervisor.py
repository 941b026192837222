"""The embedded stack: every server and process of Ordersaga, started on readiness and stopped in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from runtime.part_settings import SETTINGS
from runtime.settings import Settings
from sandbox.certificates import Certificates
from sandbox.credentials import Credentials
from sandbox.endpoints import Account, Endpoints
from sandbox.environment import (
    double_environment,
    process_environment,
    sandbox_settings,
    stack_settings,
    to_shell,
)
from sandbox.external import External
from sandbox.files import write_private
from sandbox.folder import StackFolder
from sandbox.kafka import Kafka
from sandbox.ports import Ports, free_ports
from sandbox.postgres.server import Postgres
from sandbox.processes import GROUPED, SPLIT, Group, Tier, group_command, setup_command
from sandbox.servers import Server, Servers
from sandbox.setup import digest, publish_again, set_up_databases
from sandbox.temporal import Temporal
from sandbox.temporal_config import TemporalConfig
from sandbox.watchdog import Failure, ReadyAgain, Update, Watchdog

ADMIN_EMAIL: Final = "admin@example.test"


class Stack:
    """The whole of Ordersaga on this machine: inside the context everything is ready.

    When PostgreSQL, Temporal or the broker ends, or a process of ours for good, the stack stops by itself; leaving the
    context then raises what happened.

    Attributes:
        failed: set when that has happened; `failure` says what.
        endpoints: where everything is; also in `endpoints.json`, as long as the stack runs.
    """

    def __init__(
        self,
        *,
        var: Path,
        ports: Ports,
        split: bool = False,
        restart: bool = False,
        external: Collection[External] = (),
        parts: bool = True,
        on_update: Callable[[Update], None] = lambda update: None,
    ) -> None:
        """Describe the stack; nothing runs yet.

        Args:
            var: holds its data, logs and secrets; made when it is not there, used by one stack at a time.
            ports: where everything listens.
            split: each component has a process of its own.
            restart: a process of ours that dies is started again; else the first death ends the stack.
            external: servers that somebody else runs. They are ready, Kafka with our topics and Temporal with our
                namespace and search attributes; our environment says where they are.
            parts: run Ordersaga's own, too; else only what they need, and somebody else runs them.
            on_update: called for such deaths and starts.
        """
        self._var = var
        self._ports = ports
        groups = SPLIT if split else GROUPED
        self._groups = [group for group in groups if parts or group.tier is Tier.DOUBLE]
        self._restart = restart
        self._external = frozenset(external)
        self._on_update = on_update
        self._probe_ports = dict(zip((group.name for group in groups), free_ports(len(groups)), strict=True))
        self._watchdogs: dict[str, Watchdog] = {}
        self._stop_task: asyncio.Task[None] | None = None
        self._is_up = False
        self.failed = asyncio.Event()
        self.failure: Failure | None = None

    async def __aenter__(self) -> Self:
        """Start everything; being cancelled on the way stops what had started.

        Raises:
            StackRunningError: another stack uses the folder.
            PortsTakenError: something else listens on one of the ports.
            SettingsError: a setting in our environment does not fit, or lacks what an external server needs.
            StackError: something did not start; everything is stopped again.
        """
        self._folder = StackFolder(self._var)
        try:
            await self._folder.clear()
            self._ports.check()
            self._prepare()
        except BaseException:
            self._folder.release()
            raise
        self._starting = asyncio.create_task(self._start())
        failed = asyncio.create_task(self.failed.wait())
        try:
            await asyncio.wait({self._starting, failed}, return_when=asyncio.FIRST_COMPLETED)
            if self.failure is not None:
                raise self.failure
            await self._starting
        except BaseException as error:
            await self._stop_shielded()
            raise _first(error) from None
        finally:
            failed.cancel()
        self._is_up = True
        self._publish()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop_shielded()
        if self.failure is not None:
            if error is None:
                raise self.failure
            error.add_note(str(self.failure))

    # -- Start ------------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        """The dependencies, as a graph of tasks: what is awaited in a task is what it depends on."""
        is_new = self._postgres is not None and await self._postgres.is_new()
        async with asyncio.TaskGroup() as tasks:
            postgres = tasks.create_task(self._servers.start("postgres"))
            temporal = tasks.create_task(self._servers.start("temporal"))
            kafka = tasks.create_task(self._servers.start("kafka"))
            databases = tasks.create_task(self._set_up_databases(postgres, is_new=is_new))
            doubles = [tasks.create_task(self._run(group)) for group in self._of(Tier.DOUBLE)]
            for group in self._of(Tier.WORKER):
                tasks.create_task(self._run(group, temporal))
            for group in self._of(Tier.SERVICE):
                tasks.create_task(self._run(group, databases, temporal, kafka, *doubles))

    def _of(self, tier: Tier) -> list[Group]:
        return [group for group in self._groups if group.tier is tier]

    def _prepare(self) -> None:
        folder, ports = self._folder, self._ports
        config = TemporalConfig.load()
        self._postgres = self._own_postgres()
        temporal = Temporal(
            config=config,
            database=folder.temporal / "temporal.db",
            port=ports.temporal,
            ui_port=ports.temporal_ui,
            log=folder.logs / "temporal.log",
        )
        kafka = Kafka(port=ports.kafka, log=folder.logs / "kafka.log")
        servers: dict[str, Server] = {External.TEMPORAL: temporal, External.KAFKA: kafka}
        own = {name: server for name, server in servers.items() if name not in self._external}
        if self._postgres is not None:
            own[External.POSTGRES] = self._postgres
        self._servers = Servers(own, on_failure=self._fail)
        self._credentials = Credentials.load(folder.secrets)
        certificates = Certificates.load(folder.certificates)
        self.settings: Settings = stack_settings(
            ports=ports,
            namespace=config.namespace,
            databases=None if self._postgres is None else self._postgres.databases,
            credentials=self._credentials,
            certificates=certificates,
            external=self._external,
        )
        self._sandbox = sandbox_settings(ports=ports, var=folder.path)

    def _own_postgres(self) -> Postgres | None:
        if External.POSTGRES in self._external:
            return None
        folder = self._folder
        log = folder.logs / "postgres.log"
        return Postgres(data=folder.path / "postgres", port=self._ports.postgres, sockets=folder.sockets, log=log)

    async def _set_up_databases(self, postgres: asyncio.Task[None], *, is_new: bool) -> None:
        password = self._credentials.admin_password
        command = setup_command(
            logs=self._folder.logs,
            environment=process_environment(self.settings, "setup databases", "setup admin"),
            email=ADMIN_EMAIL,
            password=password,
        )
        await set_up_databases(
            admin=None if self._postgres is None else self._postgres.databases.admin,
            server=postgres,
            is_new=is_new,
            command=command,
            state=digest([ADMIN_EMAIL, password]),
        )
        if External.KAFKA not in self._external:  # our own is in memory
            await self._publish_again()

    async def _publish_again(self) -> None:
        await publish_again(dsn.get_secret_value() for dsn in self.settings.owner_dsns.values())

    async def _run(self, group: Group, *dependencies: asyncio.Task[None]) -> None:
        watchdog = self._watchdogs[group.name] = Watchdog(
            group_command(group, logs=self._folder.logs, environment=self._environment_of(group)),
            notify_socket=self._folder.sockets / f"{group.name}.notify",
            restart=self._restart,
            on_update=self._updated,
            on_failure=self._fail,
        )
        await watchdog.start(dependencies)

    def _environment_of(self, group: Group) -> dict[str, str]:
        """What the group's process is given: no secret that it has no use for."""
        if group.tier is Tier.DOUBLE:
            return double_environment(self.settings, self._sandbox)
        environment = process_environment(self.settings, *group.components)
        return environment | {"ORDERSAGA_PROBE_PORT": str(self._probe_ports[group.name])}

    # -- While it runs ----------------------------------------------------------------------------------------------

    @property
    def administrator(self) -> str:
        """DSN of our own PostgreSQL's administrator."""
        if self._postgres is None:
            raise LookupError("PostgreSQL is somebody else's, and so is its administrator")
        return self._postgres.databases.admin

    async def take_down(self, name: str) -> None:
        """Kill the process of a component or a server on purpose: nobody starts it again until `bring_back`."""
        if name in self._servers.pids:
            await self._servers.kill(name)
        else:
            await self._watchdog(name).take_down()

    async def bring_back(self, name: str) -> None:
        """Start what was taken down; return when it is ready. The broker comes back empty and is filled again.

        Raises:
            StackError: it did not start.
        """
        if name == "kafka":
            await self._publish_again()
        if name in self._servers.pids:
            await self._servers.start(name)
        else:
            await self._watchdog(name).bring_back()
        self._publish()

    def _watchdog(self, component: str) -> Watchdog:
        return next(self._watchdogs[group.name] for group in self._groups if component in group.components)

    def _updated(self, update: Update) -> None:
        if self._is_up and isinstance(update, ReadyAgain):
            self._publish()
        self._on_update(update)

    def _fail(self, failure: Failure) -> None:
        if self.failure is None:
            self.failure = failure
            self.failed.set()
            self._begin_stop()

    def _publish(self) -> None:
        processes = {name: self._watchdog(name).pid for group in self._groups for name in group.components}
        self.endpoints = Endpoints.of(
            self.settings,
            self._ports,
            probes={
                name: self._probe_ports[group.name]
                for group in self._groups
                if group.tier is not Tier.DOUBLE
                for name in group.components
            },
            accounts={"admin": Account(email=ADMIN_EMAIL, password=self._credentials.admin_password)},
            processes={**self._servers.pids, **processes},
        )
        write_private(self._folder.endpoints, self.endpoints.to_json())
        write_private(self._folder.environment, to_shell(process_environment(self.settings, *SETTINGS)))

    # -- Stop -------------------------------------------------------------------------------------------------------

    def _begin_stop(self) -> asyncio.Task[None]:
        if self._stop_task is None:
            self._stop_task = asyncio.create_task(self._stop())
        return self._stop_task

    async def _stop_shielded(self) -> None:
        """Stop everything; a cancellation meanwhile is passed on only when nothing is left running."""
        stop = self._begin_stop()
        cancelled = False
        while not stop.done():
            try:
                await asyncio.shield(stop)
            except asyncio.CancelledError:
                cancelled = True
        stop.result()
        if cancelled:
            raise asyncio.CancelledError

    async def _stop(self) -> None:
        """First what takes new work, then what does it, then what keeps it; under 10 s by the graces of each."""
        self._starting.cancel()
        await asyncio.gather(self._starting, return_exceptions=True)
        await self._stop_groups(Tier.WORKER)
        await self._stop_groups(Tier.SERVICE)
        await asyncio.gather(self._stop_groups(Tier.DOUBLE), self._servers.stop("kafka", "temporal"))
        await self._servers.stop("postgres")
        await self._servers.join()
        self._folder.release()

    async def _stop_groups(self, tier: Tier) -> None:
        started = [self._watchdogs[group.name] for group in self._of(tier) if group.name in self._watchdogs]
        await asyncio.gather(*(watchdog.stop() for watchdog in started))


def _first(error: BaseException) -> BaseException:
    """What happened first, when several things failed together."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
