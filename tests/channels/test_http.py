"""What replies over HTTP mean, beyond what every channel is asked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.channels import Outcome
from service.channels.http import Reply, identifier, result_of, retry_after


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome.ACCEPTED),
        (202, Outcome.ACCEPTED),
        (301, Outcome.REFUSED),
        (304, Outcome.REFUSED),
        (400, Outcome.REFUSED),
        (404, Outcome.REFUSED),
        (408, Outcome.RETRY),
        (425, Outcome.RETRY),
        (429, Outcome.RETRY),
        (500, Outcome.RETRY),
        (502, Outcome.UNKNOWN),
        (503, Outcome.RETRY),
        (520, Outcome.UNKNOWN),
        (504, Outcome.UNKNOWN),
        (599, Outcome.RETRY),
    ],
)
def test_status(status: int, outcome: Outcome) -> None:
    assert result_of(Reply(status, b"", None)).outcome is outcome


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("", None),
        ("0", 0),
        ("12", 12),
        ("9" * 400, 600),
        ("-1", None),
        ("1.5", None),
        ("٣", None),
        ("soon", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 600),
        ("Fri, 31 Dec 99999 23:59:59 GMT", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    assert retry_after(value) == seconds


def test_retry_after_a_date() -> None:
    later = datetime.now(UTC) + timedelta(seconds=60)
    assert retry_after(format_datetime(later, usegmt=True)) == pytest.approx(60, abs=30)


@given(st.text())
def test_retry_after_never_fails(value: str) -> None:
    seconds = retry_after(value)
    assert seconds is None or 0 <= seconds <= 600


@given(st.binary())
def test_json_never_fails(body: bytes) -> None:
    assert isinstance(Reply(200, body, None).json(), dict)


def test_json_as_deep_as_it_may_be() -> None:
    assert Reply(200, b"[" * 60_000, None).json() == {}


@pytest.mark.parametrize("value", ["SM0123-4_5.6", "<a@b.example>", "x" * 128])
def test_identifier(value: str) -> None:
    assert identifier(value) == value


@pytest.mark.parametrize("value", [None, 1, ["x"], "", "a b", "a\0", "a\n", "é", "x" * 129])
def test_no_identifier(value: object) -> None:
    assert identifier(value) is None
