"""The Temporal client, alike in every process that has one, and one way to ask Temporal for something."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Final, TypeVar

import structlog
from temporalio.client import Client, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.envconfig import ClientConfig, ClientConnectConfig
from temporalio.service import RPCError, RPCStatusCode

from runtime.deadline import begin_work
from runtime.process import Lifecycle
from runtime.refusal import OtherSideAway, Unavailable
from runtime.sdk_metrics import measured_runtime
from runtime.settings import Settings, SettingsError
from runtime.temporal_codec import data_converter
from runtime.temporal_logs import logged_runtime
from runtime.temporal_tracing import client_interceptors

log = structlog.stdlib.get_logger(__name__)

Answer = TypeVar("Answer")

_ADDRESS: Final = "127.0.0.1:7233"
_NAMESPACE: Final = "default"
RETRY_SECONDS: Final = 0.5
RPC_TIMEOUT: Final = timedelta(seconds=2)
"""Limit of one call, for `rpc_timeout`."""
_QUOTED: Final = re.compile(r'kind: \w+, message: "([^"]+)"')
_CONNECT_SECONDS: Final = 1.0
_REFUSALS: Final = frozenset(
    {
        RPCStatusCode.INVALID_ARGUMENT,
        RPCStatusCode.NOT_FOUND,
        RPCStatusCode.ALREADY_EXISTS,
        RPCStatusCode.PERMISSION_DENIED,
        RPCStatusCode.FAILED_PRECONDITION,
        RPCStatusCode.OUT_OF_RANGE,
        RPCStatusCode.UNIMPLEMENTED,
    }
)


class TemporalAway(OtherSideAway):
    """Temporal does not answer; whether it did what was asked is not known. Repeat it."""


class TemporalRefused(Unavailable):
    """Temporal does not do this one thing as things stand; what else it is asked it may do."""

    def __init__(self, message: str, *, status: RPCStatusCode) -> None:
        super().__init__(message)
        self.status = status


async def connect_temporal(settings: Settings, *, lazy: bool = False) -> Client:
    """A client of the Temporal that the settings and the profile name; every client of ours is made here.

    A process that shows its metrics has what the SDK counts among them.

    Args:
        settings: of the process.
        lazy: connects on its first use, so that a process starts while Temporal is away.

    Raises:
        SettingsError: the profile is missing, or does not fit.
        RuntimeError: nobody answers, or the other side is not trusted or does not trust us, which the message says.
    """
    return await Client.connect(
        **connect_options(settings),
        data_converter=data_converter(settings),
        interceptors=client_interceptors(),
        lazy=lazy,
        runtime=logged_runtime() if settings.probe_port is None else measured_runtime(),
    )


def connect_options(settings: Settings) -> ClientConnectConfig:
    """What a client is made with: the profile's, and the settings' own in its place.

    Raises:
        SettingsError: the file or the profile is missing, or does not fit.
    """
    file = settings.temporal_config_file
    if file is not None and not file.is_file():
        raise SettingsError(f"ORDERSAGA_TEMPORAL_CONFIG_FILE: there is no {file}")
    try:
        profile = ClientConfig.load_client_connect_config(
            settings.temporal_profile, config_file=None if file is None else str(file)
        )
    except (RuntimeError, ValueError, OSError) as error:
        where = "PROFILE" if settings.temporal_profile is not None else "CONFIG_FILE"
        raise SettingsError(f"ORDERSAGA_TEMPORAL_{where}: {error}") from None
    profile["target_host"] = settings.temporal_address or profile.get("target_host") or _ADDRESS
    profile["namespace"] = settings.temporal_namespace or profile.get("namespace") or _NAMESPACE
    return profile


async def ask_temporal(call: Callable[[], Awaitable[Answer]], *, within: timedelta = RPC_TIMEOUT) -> Answer:
    """Make a call whose own limit is `within`.

    Raises:
        TemporalAway: repeat.
        TemporalRefused: it would be refused again as things stand.
        CallerGone: it would be the first thing that is done for a caller of ours, who has gone.
    """
    begin_work()
    try:
        # The limit of the call does not limit how long a lazy client connects.
        async with asyncio.timeout(within.total_seconds() + _CONNECT_SECONDS):
            return await call()
    except RPCError as error:
        message = f"Temporal: {error.status.name}: {error.message}"
        if error.status in _REFUSALS:
            raise TemporalRefused(message, status=error.status) from None
        raise TemporalAway(message) from None
    except (WorkflowUpdateRPCTimeoutOrCancelledError, RuntimeError, TimeoutError) as error:
        # RuntimeError is how the SDK says that a lazy client could not connect.
        raise TemporalAway(f"Temporal: {_in_words(error)}") from None


def _in_words(error: Exception) -> str:
    """What the SDK says, or of what it dumps of a connection's structures the operating system's own words."""
    text = str(error) or "no answer"
    quoted = _QUOTED.search(text)
    return text if quoted is None else f"no connection: {quoted[1]}"


async def wait_for_temporal(settings: Settings, lifecycle: Lifecycle) -> Client | None:
    """A connected client, which a worker needs; None when the process stops before Temporal is there."""
    while not lifecycle.stopping.is_set():
        try:
            return await connect_temporal(settings)
        except RuntimeError as error:  # what the SDK raises when it cannot connect
            log.warning("temporal.away", error=str(error))
        with suppress(TimeoutError):
            async with asyncio.timeout(RETRY_SECONDS):
                await lifecycle.stopping.wait()
    return None
