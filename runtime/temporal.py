"""The Temporal client, alike in every process that has one."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

import structlog
from temporalio.client import Client

from runtime.process import Lifecycle
from runtime.settings import Settings

log = structlog.stdlib.get_logger(__name__)

RETRY_SECONDS: Final = 0.5


async def connect_temporal(settings: Settings) -> Client:
    """A client that connects on its first use, so that a process starts while Temporal is away."""
    return await Client.connect(settings.temporal_address, namespace=settings.temporal_namespace, lazy=True)


async def wait_for_temporal(settings: Settings, lifecycle: Lifecycle) -> Client | None:
    """A connected client, which a worker needs; None when the process stops before Temporal is there."""
    while not lifecycle.stopping.is_set():
        try:
            return await Client.connect(settings.temporal_address, namespace=settings.temporal_namespace)
        except RuntimeError as error:  # what the SDK raises when it cannot connect
            log.warning("temporal.away", address=settings.temporal_address, error=str(error))
        with suppress(TimeoutError):
            async with asyncio.timeout(RETRY_SECONDS):
                await lifecycle.stopping.wait()
    return None
