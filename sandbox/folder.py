"""The folder that holds everything of one embedded stack, for one stack at a time."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from sandbox.errors import StackRunningError


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
        self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise StackRunningError(var) from None
        # Elsewhere, because the path of a unix socket has to be short.
        self.sockets = Path(tempfile.mkdtemp(prefix="ordersaga-"))

    @property
    def endpoints(self) -> Path:
        """Where everything is, while the stack runs."""
        return self.path / "endpoints.json"

    @property
    def secrets(self) -> Path:
        """The stack's secrets, the admin's password among them."""
        return self.path / "secrets.json"

    def release(self) -> None:
        """Let another stack have it."""
        self.endpoints.unlink(missing_ok=True)
        shutil.rmtree(self.sockets, ignore_errors=True)
        os.close(self._lock)
