"""Logging: one line of JSON per event on standard error, for structlog and the standard library alike."""

from __future__ import annotations

import logging
import sys

import structlog

from runtime import tracing, work_context


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
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # aiokafka repeats, as error, each attempt to reach a broker that is away: our own lines say so once
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    # uvicorn reports each start and stop on "uvicorn.error", and aiosmtpd each mail's addresses on "mail.log"
    # a step that fails is logged by `runtime.temporal_tracing.StepLog`, in fewer words
    logging.getLogger("temporalio.activity").setLevel(logging.ERROR)
    for chatty in ("httpx", "httpcore", "stripe", "uvicorn.access", "uvicorn.error", "mail.log", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
