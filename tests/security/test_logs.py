"""OWASP ASVS 16.4.1: no text that others chose starts a line of its own in the log."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from service.settings import Settings
from service.telemetry import logs
from tests.harness.logs import Logs

INJECTED = 'x\n{"event":"call","status":"OK"}\r\x1b[2K'


def test_a_value_with_line_breaks_stays_on_its_line(logged: Logs) -> None:
    logs.info("dispatch_attempt", reason=INJECTED)
    assert [line["reason"] for line in logged.lines()] == [INJECTED]
    assert not {"\r", "\x1b"} & set(logged.text)


def test_the_text_of_a_library_stays_on_its_line(logged: Logs) -> None:
    logging.getLogger("library").warning(INJECTED)
    assert [line["event"] for line in logged.lines()] == ["library"]


def test_nothing_below_the_level_is_logged(
    monkeypatch: pytest.MonkeyPatch, make_settings: Callable[..., Settings]
) -> None:
    logged = Logs(monkeypatch, make_settings(log_level="error"))
    logs.info("one")
    logs.warning("two")
    logs.error("three")
    logging.getLogger("library").warning("four")
    logging.getLogger("library").error("five")
    assert [line["event"] for line in logged.lines()] == ["three", "library"]
