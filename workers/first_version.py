"""The very first version of the order worker makes itself the current one; who follows it is for people to say."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

import structlog
from temporalio.client import Client
from temporalio.service import RPCStatusCode

from runtime.release import worker_version
from runtime.settings import Settings
from runtime.temporal import TemporalAway, TemporalRefused
from runtime.temporal_deployment import Deployment

log = structlog.stdlib.get_logger(__name__)

RETRY_SECONDS: Final = 0.05
"""Temporal knows a version some hundredths of a second after its worker has asked for work."""
_NOT_YET: Final = (RPCStatusCode.NOT_FOUND, RPCStatusCode.FAILED_PRECONDITION)


async def take_over_if_first(client: Client, settings: Settings, stopping: asyncio.Event) -> None:
    """Give new orders to our version, where none was ever given any; return when that is so, or is not ours to do."""
    version = worker_version(settings)
    deployment = Deployment(client, version.deployment_name, task_queue=settings.temporal_task_queue)
    while not stopping.is_set():
        try:
            found = await deployment.find()
            if found is not None and found.routing_config.HasField("current_version_changed_time"):
                return
            if found is not None:
                await deployment.set_current(version.build_id)
                log.info("deployment.first_version", build_id=version.build_id)
                return
        except TemporalRefused as refused:
            if refused.status not in _NOT_YET:
                log.error("deployment.refused", error=str(refused))
                return
        except TemporalAway as away:
            log.warning("temporal.away", error=str(away))
        with suppress(TimeoutError):
            async with asyncio.timeout(RETRY_SECONDS):
                await stopping.wait()
