"""The clock of a time-skipping server, and the locks on it that the server forgets.

It counts a lock for each task and each activity under way, skips time only while there is none, and takes one off for
each report of their end. The report of an activity whose workflow has closed meanwhile it refuses, and keeps the lock:
time would stand still for every workflow, for good. So whoever knows of such a lock gives it back. One too many is as
bad as one too few, because the server breaks at the report of the task that it belonged to.
"""

from __future__ import annotations

from contextlib import suppress

from temporalio.api.testservice.v1 import UnlockTimeSkippingRequest
from temporalio.client import Client
from temporalio.service import RPCError


async def start(client: Client) -> None:
    """Let time be skipped: a new server's clock is locked once."""
    await client.test_service.unlock_time_skipping(UnlockTimeSkippingRequest())


async def give_back_a_lock(client: Client) -> None:
    """Take a lock off that nobody will take off any more."""
    with suppress(RPCError):  # there is none
        await client.test_service.unlock_time_skipping(UnlockTimeSkippingRequest())
