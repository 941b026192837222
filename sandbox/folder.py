"""The folder that holds everything of one embedded stack, for one stack at a time."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from sandbox.child import is_alive
from sandbox.endpoints import Endpoints
from sandbox.errors import StackRunningError
from sandbox.ports import POLL_SECONDS

SOCKETS_PREFIX: Final = "ordersaga-"
STOP_TIMEOUT: Final = 15.0
"""Seconds; longer than any process takes to stop."""


class StackFolder:
    """The stack's folder, taken until `release`."""

    def __init__(self, var: Path) -> None:
        """Take it.

        Raises:
            StackRunningError: another stack has it.
        """
        self.path = var.absolute()
        self.logs = self.path / "log"
        self.temporal = self.path / "temporal"
        for folder in (self.logs, self.temporal):
            folder.mkdir(parents=True, exist_ok=True)
        self.path.chmod(0o700)  # logs name customers, mails and Stripe's objects are theirs
        self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise StackRunningError(var) from None
        self._remove_sockets_left()
        # Elsewhere, because the path of a unix socket has to be short.
        self.sockets = Path(tempfile.mkdtemp(prefix=SOCKETS_PREFIX))
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, str(self.sockets).encode(), 0)

    @property
    def endpoints(self) -> Path:
        """Where everything is, while the stack runs."""
        return self.path / "endpoints.json"

    @property
    def environment(self) -> Path:
        """The running stack's settings for a shell, which can then run any command of ours beside the stack."""
        return self.path / "environment"

    @property
    def secrets(self) -> Path:
        """The stack's secrets, the admin's password among them."""
        return self.path / "secrets.json"

    @property
    def certificates(self) -> Path:
        """The stack's certificates and their keys."""
        return self.path / "certificates"

    async def clear(self) -> None:
        """Wait until nothing of a stack that was killed here runs any more, and remove its addresses."""
        left = Endpoints.read(self.endpoints)
        if left is not None:
            with contextlib.suppress(TimeoutError):  # another program may have got one of the pids by now
                await asyncio.wait_for(_wait_until_ended(left.processes.values()), STOP_TIMEOUT)
        self._remove_addresses()

    def release(self) -> None:
        """Let another stack have it."""
        self._remove_addresses()
        shutil.rmtree(self.sockets, ignore_errors=True)
        os.ftruncate(self._lock, 0)
        os.close(self._lock)

    def _remove_addresses(self) -> None:
        self.endpoints.unlink(missing_ok=True)
        self.environment.unlink(missing_ok=True)

    def _remove_sockets_left(self) -> None:
        """Remove the sockets' folder of a stack that was killed; the lock file names it."""
        left = Path(os.pread(self._lock, 4096, 0).decode())
        if left.parent == Path(tempfile.gettempdir()) and left.name.startswith(SOCKETS_PREFIX):
            shutil.rmtree(left, ignore_errors=True)


async def _wait_until_ended(pids: Iterable[int]) -> None:
    """They stop by themselves: each gets a signal when its parent dies."""
    left = set(pids)
    while True:
        left = {pid for pid in left if is_alive(pid)}
        if not left:
            return
        await asyncio.sleep(POLL_SECONDS)
