"""The lines of the Temporal SDK's core, which writes to the console by itself, as lines of our log."""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # a process without a Temporal client need not import it
    from temporalio.runtime import LoggingConfig, Runtime

_LOGGER: Final = "temporalio.core"


def core_logging() -> LoggingConfig:
    """What a runtime of the SDK is made with, so that its core's warnings and errors go to the logger of that name."""
    from temporalio.runtime import LogForwardingConfig, LoggingConfig, TelemetryFilter

    return LoggingConfig(
        filter=TelemetryFilter(core_level="WARN", other_level="ERROR"),
        forwarding=LogForwardingConfig(
            logging.getLogger(_LOGGER), append_target_to_name=False, prepend_target_on_message=False
        ),
    )


@cache
def logged_runtime() -> Runtime:
    """The process's runtime of the SDK, whose core logs where the process does."""
    from temporalio.runtime import Runtime, TelemetryConfig

    return Runtime(telemetry=TelemetryConfig(logging=core_logging()))
