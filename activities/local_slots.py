"""Room for local attempts at steps that ask Stripe: so few that a slow Stripe never takes what other steps run in.

A local attempt runs within a workflow task and keeps that task's slot for as long as it waits. If every order that
opens its payment waited so for a slow Stripe, no task of any other order would be taken up meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from temporalio.exceptions import ApplicationError


class LocalSlots:
    """So many attempts at once at most; fewer while attempts end without an answer, down to one.

    Each attempt that gets no answer halves the room, each that is answered makes it larger by one again (additive
    increase, multiplicative decrease). So while Stripe does not answer one attempt at a time finds out when it is back,
    and nearly everybody is spared the wait of an attempt in vain.

    Args:
        most: slots while Stripe answers.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._room = most
        self._taken = 0

    @property
    def room(self) -> int:
        """How many attempts may be under way now."""
        return self._room

    @contextmanager
    def take(self) -> Iterator[bool]:
        """A slot for as long as the context is open, if one is free: whether it is. Nobody waits for one."""
        if self._taken >= self._room:
            yield False
            return
        self._taken += 1
        try:
            yield True
        except BaseException as error:
            if isinstance(error, ApplicationError) and error.non_retryable:  # a refusal is an answer
                self._grow()
            else:
                self._room = max(1, self._room // 2)
            raise
        else:
            self._grow()
        finally:
            self._taken -= 1

    def _grow(self) -> None:
        self._room = min(self._most, self._room + 1)
