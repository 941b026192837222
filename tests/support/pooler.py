"""Poolers in transaction mode in front of PostgreSQL: a small one of our own, and the real PgBouncer.

Between two transactions of a client such a pooler takes its backend away, and gives it another one for the next. Ours
does so each time, so that what must not be relied on fails each time; PgBouncer does it when others come in between.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import struct
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from sandbox.ports import HOST, POLL_SECONDS, free_port

INSTALL = "apt-get install pgbouncer"
_BACKENDS = 2
_NEGOTIATIONS = (80877103, 80877104)
"""Codes by which a client asks for TLS or GSSAPI before it says who it is."""


@dataclass(frozen=True, slots=True)
class _Frame:
    """A message of PostgreSQL's protocol (https://www.postgresql.org/docs/current/protocol-message-formats.html)."""

    kind: bytes
    body: bytes

    @classmethod
    async def read(cls, reader: asyncio.StreamReader) -> _Frame:
        kind = await reader.readexactly(1)
        [length] = struct.unpack("!i", await reader.readexactly(4))
        return cls(kind, await reader.readexactly(length - 4))

    def encode(self) -> bytes:
        return self.kind + struct.pack("!i", len(self.body) + 4) + self.body


@dataclass(frozen=True, slots=True)
class _Backend:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def until_ready(self) -> tuple[list[_Frame], bool]:
        """What it answers, and whether it is outside of a transaction then. Notifications go to nobody."""
        frames = []
        while True:
            frame = await _Frame.read(self.reader)
            if frame.kind != b"A":
                frames.append(frame)
            if frame.kind == b"Z":
                return frames, frame.body == b"I"


class _Pooler:
    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._clients: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        backends: list[_Backend] = []
        try:
            startup = await _read_startup(reader, writer)
            for _ in range(_BACKENDS):
                backends.append(_Backend(*await asyncio.open_unix_connection(self._socket)))
                backends[-1].writer.write(startup)
                greeting, _ = await backends[-1].until_ready()
            for frame in greeting:
                # who it speaks to, and with which secret it may cancel, is the pooler's to say
                writer.write(_Frame(b"K", bytes(len(frame.body))).encode() if frame.kind == b"K" else frame.encode())
            await self._pass_on(reader, writer, backends)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # somebody has hung up
        finally:
            self._clients.discard(task)
            for each in (writer, *(backend.writer for backend in backends)):
                each.close()

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, backends: list[_Backend]
    ) -> None:
        for backend in itertools.cycle(backends):
            is_idle = False
            while not is_idle:
                while (frame := await _Frame.read(reader)).kind not in (b"Q", b"S", b"X"):
                    backend.writer.write(frame.encode())
                if frame.kind == b"X":
                    return
                backend.writer.write(frame.encode())
                answers, is_idle = await backend.until_ready()
                writer.write(b"".join(answer.encode() for answer in answers))

    async def close(self) -> None:
        for client in self._clients:
            client.cancel()
        if self._clients:
            await asyncio.wait(self._clients)


async def _read_startup(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    while True:
        [length] = struct.unpack("!i", head := await reader.readexactly(4))
        body = await reader.readexactly(length - 4)
        if struct.unpack("!i", body[:4])[0] not in _NEGOTIATIONS:
            return head + body
        writer.write(b"N")


@asynccontextmanager
async def transaction_pooler(dsn: str, admin: str) -> AsyncIterator[str]:
    """Our own, as long as the context is open: the DSN that leads through it.

    It reaches the server over the Unix socket of the administrator's DSN, which asks nobody for a password.
    """
    target = conninfo_to_dict(admin)
    pooler = _Pooler(Path(str(target["host"])) / f".s.PGSQL.{target['port']}")
    server = await asyncio.start_server(pooler.serve, HOST, 0)
    try:
        yield make_conninfo(dsn, port=server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await pooler.close()


@asynccontextmanager
async def pgbouncer(dsn: str) -> AsyncIterator[str]:
    """PgBouncer in transaction mode, as long as the context is open: the DSN that leads through it."""
    program = shutil.which("pgbouncer")
    if program is None:
        pytest.fail(f"PgBouncer is missing: `{INSTALL}`. Without it, set ORDERSAGA_WITHOUT=pgbouncer.", pytrace=False)
    target, port = conninfo_to_dict(dsn), free_port()
    with tempfile.TemporaryDirectory(prefix="ordersaga-pgbouncer-") as name:
        folder = Path(name)
        users, settings = folder / "users.txt", folder / "pgbouncer.ini"
        users.write_text(f'"{target["user"]}" "{target["password"]}"\n')
        settings.write_text(
            "[databases]\n"
            f"* = host={target['host']} port={target['port']}\n"
            "[pgbouncer]\n"
            f"listen_addr = {HOST}\nlisten_port = {port}\nunix_socket_dir =\n"
            "pool_mode = transaction\ndefault_pool_size = 4\nserver_round_robin = 1\n"
            f"auth_type = plain\nauth_file = {users}\n"
        )
        arguments = [program, str(settings)]
        if os.geteuid() == 0:  # PgBouncer refuses to be that
            folder.chmod(0o755)
            arguments = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *arguments]
        log = folder / "log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(*arguments, stdout=output, stderr=output, cwd="/")
        try:
            await _until_listening(process, port, log)
            yield make_conninfo(dsn, port=port)
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


async def _until_listening(process: asyncio.subprocess.Process, port: int, log: Path) -> None:
    async with asyncio.timeout(20):
        while process.returncode is None:
            try:
                _, writer = await asyncio.open_connection(HOST, port)
            except ConnectionRefusedError:
                await asyncio.sleep(POLL_SECONDS)
            else:
                writer.close()
                return
    pytest.fail(f"PgBouncer ended:\n{log.read_text()}", pytrace=False)
