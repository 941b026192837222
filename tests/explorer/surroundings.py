"""What every lab runs its workflows in: short time limits, and no logs of what fails on purpose."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache

from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter

from workflows import activity_calls


@contextmanager
def time_limits(seconds: float) -> Iterator[None]:
    """Let every time limit of a step be so short; workflows read them when they run a step."""
    limits = activity_calls.LOCAL_TIMEOUT, activity_calls.REMOTE_TIMEOUT
    short = timedelta(seconds=seconds)
    vars(activity_calls).update(LOCAL_TIMEOUT=short, REMOTE_TIMEOUT=short)
    try:
        yield
    finally:
        vars(activity_calls).update(LOCAL_TIMEOUT=limits[0], REMOTE_TIMEOUT=limits[1])


@contextmanager
def quiet() -> Iterator[None]:
    """Steps fail on purpose; the SDK would log each of them with its traceback."""
    logger = logging.getLogger("temporalio.activity")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


@cache
def runtime() -> Runtime:
    """A runtime that does not warn of what the test server lacks."""
    errors_only = LoggingConfig(filter=TelemetryFilter(core_level="ERROR", other_level="ERROR"))
    return Runtime(telemetry=TelemetryConfig(logging=errors_only))
