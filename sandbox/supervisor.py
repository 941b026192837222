"""The embedded stack: every server and process of Ordersaga, started on readiness and stopped in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
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
from sandbox.files import write_private
from sandbox.folder import StackFolder
from sandbox.kafka import Kafka
from sandbox.ports import Ports, address
from sandbox.postgres.databases import SERVICES as DATABASE_SERVICES
from sandbox.postgres.server import Postgres
from sandbox.processes import GROUPED, SPLIT, Group, Tier, group_command, setup_command
from sandbox.servers import Servers
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
        parts: bool = True,
        on_update: Callable[[Update], None] = lambda update: None,
    ) -> None:
        """Describe the stack; nothing runs yet.

        Args:
            var: holds its data, logs and secrets; made when it is not there, used by one stack at a time.
            ports: where everything listens.
            split: each component has a process of its own.
            restart: a process of ours that dies is started again; else the first death ends the stack.
            parts: run Ordersaga's own, too; else only what they need, and somebody else runs them.
            on_update: called for such deaths and starts.
        """
        self._var = var
        self._ports = ports
        groups = SPLIT if split else GROUPED
        self._groups = [group for group in groups if parts or group.tier is Tier.DOUBLE]
        self._restart = restart
        self._on_update = on_update
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
            SettingsError: a setting in our environment does not fit.
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
        is_new = await self._postgres.is_new()
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
        self._postgres = Postgres(
            data=folder.path / "postgres",
            port=ports.postgres,
            sockets=folder.sockets,
            log=folder.logs / "postgres.log",
        )
        temporal = Temporal(
            config=config,
            database=folder.temporal / "temporal.db",
            port=ports.temporal,
            ui_port=ports.temporal_ui,
            log=folder.logs / "temporal.log",
        )
        kafka = Kafka(port=ports.kafka, log=folder.logs / "kafka.log")
        self._servers = Servers(
            {"postgres": self._postgres, "temporal": temporal, "kafka": kafka}, on_failure=self._fail
        )
        self._credentials = Credentials.load(folder.secrets)
        certificates = Certificates.load(folder.certificates)
        self.settings: Settings = stack_settings(
            ports=ports,
            namespace=config.namespace,
            databases=self._postgres.databases,
            credentials=self._credentials,
            certificates=certificates,
        )
        self._sandbox = sandbox_settings(ports=ports, var=folder.path)

    async def _set_up_databases(self, postgres: asyncio.Task[None], *, is_new: bool) -> None:
        password = self._credentials.admin_password
        command = setup_command(
            logs=self._folder.logs,
            environment=process_environment(self.settings, "ordersaga setup"),
            email=ADMIN_EMAIL,
            password=password,
        )
        await set_up_databases(
            admin=self._postgres.databases.admin,
            server=postgres,
            is_new=is_new,
            command=command,
            state=digest([ADMIN_EMAIL, password]),
        )

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
        return process_environment(self.settings, *group.components)

    # -- While it runs ----------------------------------------------------------------------------------------------

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
            await publish_again(self._postgres.databases.admin)
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
        self.endpoints = self._describe()
        write_private(self._folder.endpoints, self.endpoints.to_json())
        write_private(self._folder.environment, to_shell(process_environment(self.settings, *SETTINGS)))

    def _describe(self) -> Endpoints:
        ports = self._ports
        return Endpoints(
            gateway=f"http://{address(ports.gateway)}",
            temporal=address(ports.temporal),
            temporal_ui=f"http://{address(ports.temporal_ui)}",
            kafka=address(ports.kafka),
            stripe=f"http://{address(ports.stripe)}",
            smtp=address(ports.smtp),
            mailbox=f"http://{address(ports.mailbox)}",
            grpc={service: address(getattr(ports, service)) for service in DATABASE_SERVICES},
            postgres=self._postgres.databases.services,
            accounts={"admin": Account(email=ADMIN_EMAIL, password=self._credentials.admin_password)},
            processes={
                **self._servers.pids,
                **{name: self._watchdog(name).pid for group in self._groups for name in group.components},
            },
        )

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
