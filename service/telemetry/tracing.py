"""Traces and metrics over OTLP, as other modules see them: none, unless one of `_ENDPOINTS` is set.

No span has an attribute that comes from a caller, and none records an exception: their texts may
quote codes, credentials and destinations.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import TYPE_CHECKING, Any

from service.errors import BadSetting, CannotProceed

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from service.telemetry.otel import Otel

Handler = Callable[[Any, Any], Awaitable[Any]]

_ENDPOINTS = tuple(f"OTEL_EXPORTER_OTLP_{which}ENDPOINT" for which in ("", "TRACES_", "METRICS_"))
_NOTHING = nullcontext()
_otel: Otel | None = None


def start() -> None:
    """Starts exporting, if the environment names a collector.

    Raises:
        CannotProceed: The extra `otel` is not installed, or a variable is malformed.
    """
    global _otel
    named = [name for name in _ENDPOINTS if os.environ.get(name)]
    if not named:
        return
    try:
        _otel = import_module("service.telemetry.otel").Otel()
    except ImportError:
        raise CannotProceed(named[0], "needs `pip install '.[otel]'`") from None
    except ValueError as error:
        raise BadSetting("the OTEL_ variables", str(error)) from None


def stop() -> None:
    """Exports what remains, within three seconds, and ends it."""
    global _otel
    if _otel is not None:
        _otel.stop()
        _otel = None


def dispatch(challenge_type: str, traceparent: str | None) -> AbstractContextManager[object]:
    """Makes the span of a delivery: within that of the Send, or linked to it where the sweep began.

    Args:
        challenge_type: `sms` or `email`.
        traceparent: The Send's.
    """
    return _NOTHING if _otel is None else _otel.dispatch(challenge_type, traceparent)


def provider_call(channel: str) -> AbstractContextManager[Span | None]:
    """Makes the span of a call to a provider; yields it, or None where nothing is traced.

    Args:
        channel: The channel's name.
    """
    return _NOTHING if _otel is None else _otel.provider_call(channel)


def headers() -> Mapping[str, str]:
    """Returns the W3C trace context to pass on to services of our own."""
    return {} if _otel is None else _otel.headers()


def traceparent() -> str | None:
    """Returns the W3C trace context to keep of a Send; None if it is not sampled."""
    return None if _otel is None else _otel.traceparent()


def call(method: str, handler: Handler) -> Handler:
    """Wraps a handler in the span of its calls; returns it unchanged where nothing is traced.

    Args:
        method: `/package.Service/Method`.
        handler: Takes request and context.
    """
    return handler if _otel is None else _otel.call(method, handler)


def exemplar() -> dict[str, str] | None:
    """Names the current span as an example of what is observed; None if it is not sampled."""
    return None if _otel is None else _otel.exemplar()


def is_on() -> bool:
    """Whether anything is exported."""
    return _otel is not None


def statement(name: str) -> AbstractContextManager[None]:
    """Makes the span of a statement; none for loops, which belong to no trace.

    Args:
        name: The statement's.
    """
    return _NOTHING if _otel is None else _otel.statement(name)
