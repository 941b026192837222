"""Password hashes: argon2id with the parameters of RFC 9106's low-memory profile, argon2-cffi's default."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import unicodedata
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import structlog
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from argon2.profiles import RFC_9106_LOW_MEMORY

from domain.ids import new_id
from runtime.deadline import CallerGone, time_left, time_to_wait
from runtime.turns import Turns

log = structlog.stdlib.get_logger(__name__)

Result = TypeVar("Result")

SAFE_MEMORY_KIB: Final = RFC_9106_LOW_MEMORY.memory_cost
PARALLEL_HASHES: Final = 2
"""Hashes computed at once: each takes 64 MiB and four lanes of CPU, so a rush of logins waits instead of starving."""
MOST_WAITING: Final = 500
"""Far more than can be served before their callers' deadlines."""

NICENESS: Final = 10
"""Of the threads that hash: where cores are few, a rush of logins leaves them to whoever shops, ten to one."""


def normalised(password: str) -> str:
    """The password as it is measured and hashed: NFKC (NIST SP 800-63B, section 3.1.1.2), so that every keyboard's form
    of it is the same."""
    return unicodedata.normalize("NFKC", password)


class Passwords:
    """Hashes and verifies passwords off the event loop, in the order in which that is asked for.

    A hash waits for its turn as long as its caller does. For a caller that has gone nothing is computed.
    """

    def __init__(self, *, memory_kib: int) -> None:
        self._hasher = PasswordHasher(memory_cost=memory_kib)
        self._turns = Turns(PARALLEL_HASHES, of="slot for a password hash", most_waiting=MOST_WAITING)
        self._threads = ThreadPoolExecutor(PARALLEL_HASHES, thread_name_prefix="passwords", initializer=_step_back)
        self._nobodys = self._hasher.hash(new_id())
        if memory_kib < SAFE_MEMORY_KIB:
            log.warning("passwords.unsafe", memory_kib=memory_kib, safe_memory_kib=SAFE_MEMORY_KIB)

    async def hash(self, password: str) -> str:
        """A new salted hash in the PHC string format.

        Raises:
            Unavailable: its turn did not come in time.
        """
        async with self._turn():
            return await self._run(lambda: self._hasher.hash(normalised(password)))

    async def verify(self, password: str, *, password_hash: str | None) -> bool:
        """Whether the password made the hash; without a hash the same work is done, and the answer is no.

        Raises:
            Unavailable: its turn did not come in time.
        """
        async with self._turn():
            try:
                await self._run(lambda: self._hasher.verify(password_hash or self._nobodys, normalised(password)))
            except VerifyMismatchError:
                return False
        return password_hash is not None

    def is_outdated(self, password_hash: str) -> bool:
        """Whether the hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(password_hash)

    async def _run(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        async with self._turns.take(wait=time_to_wait()):
            left = time_left()
            if left is not None and left <= 0:
                raise CallerGone
            yield


def _step_back() -> None:
    """Let everything else come first; the lanes of a hash, threads of its own, inherit it."""
    if sys.platform == "linux":  # elsewhere a thread has no priority of its own
        this = os.PRIO_PROCESS, threading.get_native_id()
        os.setpriority(*this, max(NICENESS, os.getpriority(*this)))  # forward only root may step
