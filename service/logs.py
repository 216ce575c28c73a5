"""Logs: one JSON object a line to standard error, or coloured text in development."""

from __future__ import annotations

import logging
import sys
from typing import Any

import orjson
import structlog

from service.settings import Settings

_TRACEBACKS = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)


def _traceback(exc_info: structlog.typing.ExcInfo) -> list[dict[str, Any]]:
    """Tells what failed and where: values and texts may quote codes, credentials, destinations."""
    return [{key: one[key] for key in ("exc_type", "frames")} for one in _TRACEBACKS(exc_info)]


def configure(settings: Settings) -> None:
    """Sets up structlog, and hands it what libraries log from warnings upwards."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    logger_factory: structlog.PrintLoggerFactory | structlog.BytesLoggerFactory
    if settings.environment == "development":
        shared.append(
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        )
        logger_factory = structlog.PrintLoggerFactory(sys.stderr)
    else:
        shared.append(structlog.processors.ExceptionRenderer(_traceback))
        shared.append(structlog.processors.JSONRenderer(serializer=orjson.dumps))
        logger_factory = structlog.BytesLoggerFactory(sys.stderr.buffer)
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=logger_factory,
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_ToStructlog()])


class _ToStructlog(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        # The exception's type only: what libraries put into texts is not ours to vouch for.
        error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        text = str(record.msg).partition("\n")[0]  # asyncio adds what a task raised
        structlog.get_logger().log(
            record.levelno, "library", logger=record.name, text=text, error=error
        )
