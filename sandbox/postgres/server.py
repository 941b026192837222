"""An embedded PostgreSQL 18: the binaries of a PyPI wheel, a data folder, a port."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from sandbox.child import Child, Command, run_to_completion
from sandbox.ports import HOST
from sandbox.postgres.databases import SUPERUSER, describe, load_passwords, set_up
from sandbox.postgres.launch import Launch

MAX_CONNECTIONS = 200
INIT_SECONDS = 60.0
READY_SECONDS = 120.0
STOP_SECONDS = 2.0

FAST_AND_LOOSE: Final = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=600")
"""For throw-away data: acknowledged commits vanish when the server is killed, and many test processes share it."""


class Postgres:
    """A PostgreSQL server with the services' databases, on a data folder that is made when it is not there.

    The roles' passwords are made at the first start and kept beside the data folder, readable for this user only.
    """

    def __init__(self, *, data: Path, port: int, sockets: Path, log: Path, durable: bool = True) -> None:
        """Describe the server; nothing runs yet.

        Args:
            data: the data folder.
            port: where it listens on 127.0.0.1.
            sockets: an existing private folder for its unix socket, with a path of less than 80 bytes.
            log: its log file.
            durable: False trades safety for speed: only for throw-away data.
        """
        self._data = data.absolute()
        self._port = port
        self._sockets = sockets
        self._log = log
        self._durable = durable
        self._passwords = load_passwords(self._data.with_name(f"{self._data.name}-passwords.json"))
        self.databases = describe(passwords=self._passwords, sockets=sockets, port=port)
        self._child: Child | None = None

    async def is_new(self) -> bool:
        """Whether its data folder is still to be made."""
        return not (await Launch.find(self._data)).data.exists()

    async def start(self) -> Child:
        """Start it; return when it answers and all roles and databases are there.

        Raises:
            StackError: it did not start.
        """
        launch = await Launch.find(self._data)
        launch.own(self._sockets)
        if not launch.data.exists():
            await self._create_cluster(launch)
        self._child = await Child.start(
            Command(
                name="postgres",
                arguments=launch.command("postgres", *self._server_options(launch)),
                log=self._log,
                environment=launch.environment,
                folder=Path("/"),
                stop_signal=signal.SIGINT,  # a "fast" stop: open connections are closed, everything is on disk
                escalation_signal=signal.SIGQUIT,  # "immediate": what was committed is in the log and restored from it
                grace=STOP_SECONDS,
                owner=launch.owner,
            )
        )
        try:
            await self._child.wait_for(set_up(self.databases.admin, self._passwords), within=READY_SECONDS)
        except BaseException:
            await self._child.stop()
            raise
        return self._child

    async def stop(self) -> None:
        """Stop it with a last checkpoint. Can be repeated."""
        if self._child is not None:
            await self._child.stop()

    async def remove(self) -> None:
        """Remove the data of a stopped server."""
        launch = await Launch.find(self._data)
        shutil.rmtree(launch.data, ignore_errors=True)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _create_cluster(self, launch: Launch) -> None:
        """Make the data folder; it appears complete or not at all."""
        draft = launch.data.with_name(f"{launch.data.name}.new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700, parents=True)
        launch.own(draft)
        options = ["--pgdata", str(draft), "--username", SUPERUSER, "--encoding", "UTF8", "--no-instructions"]
        options += ["--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"]
        # Whoever can enter the sockets' folder is this user; over TCP only roles with a password come in.
        options += ["--auth-local", "trust", "--auth-host", "scram-sha-256"]
        if not self._durable:
            options.append("--no-sync")
        initdb = Command(
            name="initdb",
            arguments=launch.command("initdb", *options),
            log=self._log.with_name("initdb.log"),
            environment=launch.environment,
            folder=Path("/"),
            owner=launch.owner,
        )
        await run_to_completion(initdb, within=INIT_SECONDS)
        draft.rename(launch.data)

    def _server_options(self, launch: Launch) -> list[str]:
        options = ["-D", str(launch.data), "-k", str(self._sockets), "-h", HOST, "-p", str(self._port)]
        values = [f"max_connections={MAX_CONNECTIONS}", "timezone=UTC", "log_timezone=UTC", "jit=off"]
        if not self._durable:
            values.extend(FAST_AND_LOOSE)
        for value in values:
            options += ["-c", value]
        return options
