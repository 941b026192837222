"""The relay as a component: one loop per database, one connection to Kafka for all."""

from __future__ import annotations

import asyncio
import os
import socket
from functools import partial

from domain.events import TOPICS
from domain.ids import new_id
from runtime.health import Checks
from runtime.kafka import Publisher
from runtime.kafka_topics import find_missing
from runtime.process import Lifecycle
from runtime.settings import Settings, SettingsError
from workers.relay.database import find_problem
from workers.relay.loop import DatabaseRelay


async def run(settings: Settings, lifecycle: Lifecycle) -> None:
    """Relay until the process stops. Ready when every database has answered; the broker may be away.

    Raises:
        SettingsError: no database is named.
    """
    lifecycle.health.watch(checks_of(settings))
    publisher = Publisher(settings)
    holder = f"{socket.gethostname()}:{os.getpid()}:{new_id()}"
    relays = [
        DatabaseRelay(
            service=service,
            dsn=dsn.get_secret_value(),
            holder=holder,
            publisher=publisher,
            grace=settings.shutdown_grace,
        )
        for service, dsn in settings.relay_dsns.items()
    ]
    try:
        async with asyncio.TaskGroup() as group:
            for relay in relays:
                group.create_task(relay.run(lifecycle.stopping))
            ready = group.create_task(_report_when_reached(relays, lifecycle))
            await lifecycle.stopping.wait()
            ready.cancel()
    finally:
        await publisher.close()


def checks_of(settings: Settings) -> Checks:
    """What the relay looks at: Kafka, and each database, of which one that is away holds up no other.

    Raises:
        SettingsError: no database is named.
    """
    if not settings.relay_dsns:
        raise SettingsError("ORDERSAGA_RELAY_DSNS is not set. It is: the databases whose outboxes are published")
    return Checks(
        needs={"kafka": partial(find_missing, settings, topics=TOPICS)},
        uses={
            f"database {service}": partial(find_problem, dsn.get_secret_value())
            for service, dsn in settings.relay_dsns.items()
        },
    )


async def _report_when_reached(relays: list[DatabaseRelay], lifecycle: Lifecycle) -> None:
    for relay in relays:
        await relay.reached.wait()
    lifecycle.ready()
