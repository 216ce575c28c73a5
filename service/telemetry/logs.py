"""Logs: one JSON object a line to standard error, ours or OTLP's, or coloured text in development.

Lines are made here in one step. Of structlog only the renderers are used: its loggers and their
chains of processors take five times as long.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cache
from types import MappingProxyType
from typing import Any, BinaryIO

import orjson
import structlog

from service.settings import Settings
from service.telemetry import otel_logs

Line = dict[str, Any]

_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE
_TRACEBACKS = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
_context: ContextVar[Mapping[str, str]] = ContextVar("_context", default=MappingProxyType({}))


def _traceback(exc_info: structlog.typing.ExcInfo) -> list[dict[str, Any]]:
    """Returns types and frames: values and texts may quote codes, credentials, destinations."""
    return [{key: one[key] for key in ("exc_type", "frames")} for one in _TRACEBACKS(exc_info)]


_with_traceback = structlog.processors.ExceptionRenderer(_traceback)


def _with_frames(line: Line) -> Line:
    return dict(_with_traceback(None, "", line)) if "exc_info" in line else line


def _json(line: Line) -> bytes:
    return orjson.dumps(_with_frames(line), default=repr, option=_OPTIONS)


def _otlp(line: Line) -> bytes:
    return otel_logs.encode(_with_frames(line))


@cache
def _console() -> structlog.dev.ConsoleRenderer:
    return structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )


def _text(line: Line) -> bytes:
    line["timestamp"] = line["timestamp"].isoformat()
    return f"{_console()(None, '', line)}\n".encode(errors="backslashreplace")


_render: Callable[[Line], bytes] = _text
_lowest = logging.INFO
_out: BinaryIO | None = None


def configure(settings: Settings) -> None:
    """Chooses the form and the lowest level, and takes what libraries log from warnings upwards."""
    global _render, _lowest, _out
    in_production = {"json": _json, "otlp": _otlp}[settings.log_format]
    _render = _text if settings.environment == "development" else in_production
    _lowest = logging.getLevelNamesMapping()[settings.log_level.upper()]
    _out = sys.stderr.buffer
    logging.basicConfig(level=logging.WARNING, handlers=[_Libraries(_lowest)])


def bind(**fields: str) -> None:
    """Adds fields to what this task, and those that it starts, will log."""
    _context.set({**_context.get(), **fields})


def info(event: str, **fields: object) -> None:
    """Logs an event that is expected."""
    if _lowest <= logging.INFO:
        _write("info", event, fields)


def warning(event: str, **fields: object) -> None:
    """Logs a failure that will be tried again."""
    if _lowest <= logging.WARNING:
        _write("warning", event, fields)


def error(event: str, **fields: object) -> None:
    """Logs a failure that someone must look into."""
    _write("error", event, fields)


def exception(event: str, **fields: object) -> None:
    """Logs an error with the exception that is being handled."""
    _write("error", event, {**fields, "exc_info": True})


def _write(level: str, event: str, fields: Mapping[str, object]) -> None:
    now = datetime.now(UTC)
    line = {**_context.get(), **fields, "event": event, "level": level, "timestamp": now}
    out = _out or sys.stderr.buffer
    out.write(_render(line))
    out.flush()


_CALLERS_FAULT = "Invalid encoding on"
"""gRPC says it three times of a call whose metadata is no text; the call's own line is enough."""


class _Libraries(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if str(record.msg).startswith(_CALLERS_FAULT):
            return
        # The exception's type only: a library's text may hold what our logs must not.
        raised = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        text = str(record.msg).partition("\n")[0]  # asyncio adds what a task raised
        fields = {"logger": record.name, "text": text, "error": raised}
        _write(record.levelname.lower(), "library", fields)
