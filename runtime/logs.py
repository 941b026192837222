"""Logging: one line of JSON per event on standard error, for structlog and the standard library alike."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

from runtime import tracing, work_context

_QUOTED: Final = (
    # PostgreSQL quotes rows and parameters behind these words, up to the end of its message; also in a repr
    (re.compile(r"(DETAIL|CONTEXT):\s.*?(?=\n\n|\Z)", re.DOTALL), r"\1: left out"),
    # pydantic quotes what does not fit
    (re.compile(r"\binput_value=.*?, input_type=", re.DOTALL), "input_value=left out, input_type="),
)


def _leave_out_data(_logger: object, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Let an error's text, which may quote what somebody entered, not get into the log with it."""
    for name, value in line.items():
        if isinstance(value, str):
            for quoted, left_out in _QUOTED:
                value = quoted.sub(left_out, value)
            line[name] = value
    return line


def configure_logging(level: str) -> None:
    """Send every log line of this process to standard error as JSON, from `level` up."""
    shared: list[structlog.typing.Processor] = [
        work_context.add_to_line,
        tracing.add_to_line,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, work_context.add_order_of_workflow],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _leave_out_data,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # aiokafka repeats, as error, each attempt to reach a broker that is away: our own lines say so once
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    logging.getLogger("psycopg").setLevel(max(root.level, logging.WARNING))  # it has a level of its own
    # uvicorn reports each start and stop on "uvicorn.error", and aiosmtpd each mail's addresses on "mail.log"
    # a step that fails is logged by `runtime.temporal_tracing.StepLog`, in fewer words
    logging.getLogger("temporalio.activity").setLevel(logging.ERROR)
    for chatty in ("httpx", "httpcore", "stripe", "uvicorn.access", "uvicorn.error", "mail.log", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
