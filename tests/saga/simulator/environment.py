"""What the simulator runs in: no limit of real time, and no logs of what fails on purpose.

A machine that is busy with other work takes many times as long. So whatever limits a call in production has no limit
here, and a limit that runs out is a fault of a schedule (`faults.TIMEOUT`). Only a case that does not end is given up.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import cache
from typing import Any, Final
from unittest.mock import patch

import structlog
from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter

from runtime import database, temporal
from services.payment import bootstrap as payment_bootstrap
from services.payment.payments import follow_ups
from workflows import activity_calls

LONG: Final = timedelta(minutes=10)
"""Real time in which whatever is under way has ended, on any machine."""
_LIMITS: Final[tuple[tuple[Any, str, Any], ...]] = (
    (activity_calls, "LOCAL_TIMEOUT", LONG),
    (activity_calls, "REMOTE_TIMEOUT", LONG),
    (temporal, "RPC_TIMEOUT", LONG),
    (database, "CONNECT_TIMEOUT", LONG.total_seconds()),
    (payment_bootstrap, "_EVENT_LEASE", LONG),
    (follow_ups, "_LEASE", LONG),
    (follow_ups, "_CONCURRENCY", 1),  # no limit, but so that they come in the same order in every run
)


@contextmanager
def without_limits() -> Iterator[None]:
    """Let nothing be over because it took long; workflows and services read their limits when they begin a call."""
    with ExitStack() as stack:
        for module, name, limit in _LIMITS:
            stack.enter_context(patch.object(module, name, limit))
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Steps fail on purpose; SDK and services would log each of them."""
    logger = logging.getLogger("temporalio")
    level, configuration = logger.level, structlog.get_config()
    logger.setLevel(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**configuration)
        logger.setLevel(level)


@cache
def runtime() -> Runtime:
    """A runtime that does not warn of what the test server lacks."""
    errors_only = LoggingConfig(filter=TelemetryFilter(core_level="ERROR", other_level="ERROR"))
    return Runtime(telemetry=TelemetryConfig(logging=errors_only))
