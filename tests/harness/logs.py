"""What the service logs in production."""

from __future__ import annotations

import io
import json
import logging
from typing import Any

import pytest

from service.settings import Settings
from service.telemetry import logs


class Logs:
    """Everything logged since it was made, as production writes it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
        self._stream = io.BytesIO()
        self._stderr = io.TextIOWrapper(self._stream)  # closes the stream when it is gone
        monkeypatch.setattr("sys.stderr", self._stderr)
        monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's
        for name in ("_render", "_lowest", "_out"):  # what `configure` sets, put back afterwards
            monkeypatch.setattr(logs, name, getattr(logs, name))
        logs.configure(settings)

    @property
    def text(self) -> str:
        """All of it."""
        return self._stream.getvalue().decode()

    def lines(self, event: str | None = None) -> list[dict[str, Any]]:
        """The lines of one event, or all."""
        every = [json.loads(line) for line in self.text.splitlines()]
        return [line for line in every if event in (None, line["event"])]
