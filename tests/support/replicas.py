"""Every part of Ordersaga in two processes, on a machine that may be busy."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

from runtime.settings import Settings
from sandbox.names import NameServer
from sandbox.replicas import PARTS, READY_SECONDS, Replicas, running_replicas
from tests.support.busy_machine import slowdown

_FOR_TESTS: Final = {"database_pool_size": 3, "grpc_deadline": 60.0}
"""A deadline that a busy machine does not meet is not what is tested."""


def two_of_each(
    settings: Settings, *, gateway_port: int, folder: Path, names: NameServer | None = None
) -> AbstractAsyncContextManager[Replicas]:
    """Two processes of every part, ready; one gateway listens on the port, where the Stripe double's events go.

    Services are called by the names of a name server, or by lists of addresses.
    """
    return running_replicas(
        settings.model_copy(update=_FOR_TESTS),
        counts=dict.fromkeys(PARTS, 2),
        gateway_port=gateway_port,
        folder=folder,
        names=names,
        ready_within=READY_SECONDS * slowdown(),
    )
