"""The embedded stack: every server and process of Ordersaga, started on readiness and stopped in order."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from runtime.settings import Settings
from sandbox.child import Child, run_to_end
from sandbox.credentials import Credentials
from sandbox.endpoints import Account, Endpoints
from sandbox.environment import process_environment, sandbox_settings, stack_settings
from sandbox.errors import ChildDiedError
from sandbox.files import write_private
from sandbox.folder import StackFolder
from sandbox.kafka import Kafka
from sandbox.ports import Ports, address
from sandbox.postgres import Postgres
from sandbox.postgres_databases import SERVICES as DATABASE_SERVICES
from sandbox.processes import DOUBLES, ORDER_WORKER, SERVICES, Group, group_command, setup_command
from sandbox.temporal import Temporal
from sandbox.temporal_config import TemporalConfig

ADMIN_EMAIL: Final = "admin@example.test"
SETUP_SECONDS = 60.0
READY_SECONDS = 60.0

Server = Postgres | Temporal | Kafka


class Stack:
    """The whole of Ordersaga on this machine: inside the context everything is ready.

    When a process ends that should not, the stack stops by itself; leaving the context then raises what happened.

    Attributes:
        failed: set when a process died; `failure` says which.
    """

    def __init__(self, *, var: Path, ports: Ports) -> None:
        """Describe the stack; nothing runs yet.

        Args:
            var: holds its data, logs and secrets; made when it is not there, used by one stack at a time.
            ports: where everything listens.
        """
        self._var = var
        self._ports = ports
        self._children: dict[str, Child] = {}
        self._watches: list[asyncio.Task[None]] = []
        self._stop_task: asyncio.Task[None] | None = None
        self.failed = asyncio.Event()
        self.failure: ChildDiedError | None = None

    async def __aenter__(self) -> Self:
        """Start everything; being cancelled on the way stops what had started.

        Raises:
            PortsTakenError: something else listens where a part wants to.
            StackError: a part did not start; everything is stopped again.
        """
        self._ports.check()
        self._folder = StackFolder(self._var)
        self._starting = asyncio.create_task(self._start())
        failed = asyncio.create_task(self.failed.wait())
        try:
            await asyncio.wait({self._starting, failed}, return_when=asyncio.FIRST_COMPLETED)
            if self.failure is not None:
                raise self.failure
            self.endpoints = await self._starting
        except BaseException as error:
            await self._stop_for_certain()
            raise _first(error) from None
        finally:
            failed.cancel()
        write_private(self._folder.endpoints, self.endpoints.to_json())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop_for_certain()
        if self.failure is not None:
            if error is None:
                raise self.failure
            error.add_note(str(self.failure))

    # -- Start ------------------------------------------------------------------------------------------------------

    async def _start(self) -> Endpoints:
        """The dependencies, as a graph of tasks: what is awaited in a task is what it depends on."""
        self._prepare()
        async with asyncio.TaskGroup() as tasks:
            postgres = tasks.create_task(self._serve("postgres", self._postgres))
            temporal = tasks.create_task(self._serve("temporal", self._temporal))
            kafka = tasks.create_task(self._serve("kafka", self._kafka))
            doubles = tasks.create_task(self._run(DOUBLES))
            tasks.create_task(self._run(ORDER_WORKER, temporal))
            databases = tasks.create_task(self._set_up_databases(postgres))
            tasks.create_task(self._run(SERVICES, databases, temporal, kafka, doubles))
        return self._describe()

    def _prepare(self) -> None:
        folder, ports = self._folder, self._ports
        config = TemporalConfig.load()
        self._postgres = Postgres(
            data=folder.path / "postgres",
            port=ports.postgres,
            sockets=folder.sockets,
            log=folder.logs / "postgres.log",
        )
        self._temporal = Temporal(
            config=config,
            database=folder.temporal / "temporal.db",
            port=ports.temporal,
            ui_port=ports.temporal_ui,
            log=folder.logs / "temporal.log",
        )
        self._kafka = Kafka(port=ports.kafka, log=folder.logs / "kafka.log")
        self._credentials = Credentials.load(folder.secrets)
        self.settings: Settings = stack_settings(
            ports=ports, namespace=config.namespace, databases=self._postgres.databases, credentials=self._credentials
        )
        self._environment = process_environment(self.settings, sandbox_settings(ports=ports, var=folder.path))

    async def _serve(self, name: str, server: Server) -> None:
        self._adopt(name, await server.start())

    async def _set_up_databases(self, postgres: asyncio.Task[None]) -> None:
        await postgres
        command = setup_command(
            logs=self._folder.logs,
            environment=self._environment,
            email=ADMIN_EMAIL,
            password=self._credentials.admin_password,
        )
        await run_to_end(command, within=SETUP_SECONDS)

    async def _run(self, group: Group, *needs: asyncio.Task[None]) -> None:
        """Start a group's process, let it go when what it needs is ready, return when it is ready itself."""
        command = group_command(group, logs=self._folder.logs, environment=self._environment)
        child = await Child.start(command, notify_socket=self._folder.sockets / f"{group.name}.notify")
        self._adopt(group.name, child)
        for need in needs:
            await need
        child.let_go()
        await child.until_notified(within=READY_SECONDS)

    def _adopt(self, name: str, child: Child) -> None:
        self._children[name] = child
        self._watches.append(asyncio.create_task(self._watch(child)))

    async def _watch(self, child: Child) -> None:
        await child.wait()
        if not child.stopping and self.failure is None:
            self.failure = child.death()
            self.failed.set()
            self._begin_stop()

    def _describe(self) -> Endpoints:
        ports = self._ports
        pids = {name: child.pid for name, child in self._children.items()}
        groups = (DOUBLES, ORDER_WORKER, SERVICES)
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
                **{name: pids[name] for name in ("postgres", "temporal", "kafka")},
                **{part: pids[group.name] for group in groups for part in group.parts},
            },
        )

    # -- Stop -------------------------------------------------------------------------------------------------------

    def _begin_stop(self) -> asyncio.Task[None]:
        if self._stop_task is None:
            self._stop_task = asyncio.create_task(self._stop())
        return self._stop_task

    async def _stop_for_certain(self) -> None:
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
        for name in (ORDER_WORKER.name, SERVICES.name):
            await self._stop_children(name)
        await self._stop_children(DOUBLES.name, "kafka", "temporal")
        await self._stop_children("postgres")
        await asyncio.gather(*self._watches)
        self._folder.release()

    async def _stop_children(self, *names: str) -> None:
        children = [self._children[name] for name in names if name in self._children]
        await asyncio.gather(*(child.stop() for child in children))


def _first(error: BaseException) -> BaseException:
    """What happened first, when several things failed together."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
