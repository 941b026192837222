"""The Temporal client, alike in every process that has one."""

from __future__ import annotations

from temporalio.client import Client

from runtime.settings import Settings


async def connect_temporal(settings: Settings) -> Client:
    """A client that connects on its first use, so that a process starts while Temporal is away."""
    return await Client.connect(settings.temporal_address, namespace=settings.temporal_namespace, lazy=True)
