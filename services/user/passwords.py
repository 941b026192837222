"""Password hashes: argon2id with the parameters of RFC 9106's low-memory profile, argon2-cffi's default."""

from __future__ import annotations

import asyncio
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from domain.ids import new_id

PARALLEL_HASHES: Final = 2
"""Hashes computed at once: each takes 64 MiB and four lanes of CPU, so a rush of logins waits instead of starving."""


class Passwords:
    """Hashes and verifies passwords off the event loop."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._slots = asyncio.Semaphore(PARALLEL_HASHES)
        self._nobodys = self._hasher.hash(new_id())

    async def hash(self, password: str) -> str:
        """A new salted hash in the PHC string format."""
        async with self._slots:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def verify(self, password: str, *, password_hash: str | None) -> bool:
        """Whether the password made the hash; without a hash the same work is done, and the answer is no."""
        async with self._slots:
            try:
                await asyncio.to_thread(self._hasher.verify, password_hash or self._nobodys, password)
            except VerifyMismatchError:
                return False
        return password_hash is not None

    def is_outdated(self, password_hash: str) -> bool:
        """Whether the hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(password_hash)
