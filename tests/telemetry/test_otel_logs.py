"""CHALLENGE_LOG_FORMAT=otlp: what a collector reads of a log."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf import json_format
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, LogsData, SeverityNumber

from service.settings import Settings
from service.telemetry import logs
from tests.harness.logs import Logs
from tests.telemetry.collector import attributes

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch, make_settings: Callable[..., Settings]) -> Logs:
    return Logs(monkeypatch, make_settings(log_format="otlp"))


def records(logged: Logs) -> list[LogRecord]:
    """Reads the lines by OTLP's own definition, whose JSON has ids in hexadecimal."""
    found = []
    for line in logged.text.splitlines():
        read = json.loads(line)
        [record] = read["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
        for name in ("traceId", "spanId"):
            record[name] = base64.b64encode(bytes.fromhex(record[name])).decode()
        [group] = json_format.ParseDict(read, LogsData()).resource_logs
        assert attributes(group.resource) == {"service.name": "challenge-service"}
        found.append(group.scope_logs[0].log_records[0])
    return found


async def test_a_line_has_the_data_model_of_opentelemetry(logged: Logs) -> None:
    logs.bind(request_id="r1", trace_id=TRACE, span_id=SPAN)
    logs.warning("dispatch_attempt", reason="503", took=1.5, count=3, sent=False, nothing=None)
    [record] = records(logged)
    assert record.event_name == record.body.string_value == "dispatch_attempt"
    assert record.severity_number == SeverityNumber.SEVERITY_NUMBER_WARN
    assert (record.trace_id.hex(), record.span_id.hex()) == (TRACE, SPAN)
    assert attributes(record) == {
        "request_id": "r1", "reason": "503", "took": 1.5, "count": 3, "sent": False,
    }  # fmt: skip
    assert record.time_unix_nano > 1_700_000_000 * 10**9


async def test_each_level_has_its_severity_and_an_exception_no_text(logged: Logs) -> None:
    logs.info("one")
    try:
        raise ValueError("a secret")
    except ValueError:
        logs.exception("two")
    first, second = records(logged)
    assert (first.severity_text, second.severity_text) == ("INFO", "ERROR")
    assert not first.trace_id
    told: Any = attributes(second)["exception"]
    assert '"exc_type":"ValueError"' in told
    assert "secret" not in told
