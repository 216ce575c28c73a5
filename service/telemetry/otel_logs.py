"""A line of the log as OpenTelemetry writes logs to files: one object of OTLP's JSON a line.

https://opentelemetry.io/docs/specs/otel/protocol/file-exporter/, read by the collector's receivers.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any

import orjson

_SEVERITIES = {"debug": 5, "info": 9, "warning": 13, "error": 17, "critical": 21}


def encode(line: Mapping[str, Any]) -> bytes:
    """Writes a line, its newline included.

    Args:
        line: Its fields, among them `event`, `level` and `timestamp`.
    """
    rest = dict(line)
    at: datetime = rest.pop("timestamp")
    event, level = rest.pop("event"), rest.pop("level")
    record = {
        "timeUnixNano": str(int(at.timestamp() * 1_000_000) * 1000),
        "severityNumber": _SEVERITIES[level],
        "severityText": level.upper(),
        "eventName": event,
        "body": {"stringValue": event},
        "traceId": rest.pop("trace_id", ""),
        "spanId": rest.pop("span_id", ""),
        "attributes": _attributes(rest),
    }
    logs = {"scope": {"name": "challenge-service"}, "logRecords": [record]}
    written = {"resourceLogs": [{"resource": _resource(), "scopeLogs": [logs]}]}
    return orjson.dumps(written, option=orjson.OPT_APPEND_NEWLINE)


@cache
def _resource() -> dict[str, Any]:
    name = os.environ.get("OTEL_SERVICE_NAME") or "challenge-service"
    return {"attributes": _attributes({"service.name": name})}


def _attributes(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"key": key, "value": _value(value)} for key, value in fields.items() if value is not None
    ]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, str):
        return {"stringValue": value}
    return {"stringValue": orjson.dumps(value, default=repr).decode()}
