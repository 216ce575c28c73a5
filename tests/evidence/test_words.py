"""Every event has its words on the page, and its line in the document."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from service.commands.wording import _FALLBACKS, _WORDS
from service.evidence.events import Events, FallbackReason
from service.evidence.explaining import _FALLBACKS as _EXPLAINED

ROOT = Path(__file__).parents[2]
EVENTS = [name for name in vars(Events) if not name.startswith("_")]


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_has_words(name: str) -> None:
    assert name in _WORDS


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_is_in_the_document(name: str) -> None:
    table = (ROOT / "docs/verification.md").read_text("utf-8").partition("| event |")[2]
    listed = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE)))
    assert name in listed


def test_no_others_have_words() -> None:
    assert set(_WORDS) == set(EVENTS)


def test_every_reason_of_a_fallback_has_words() -> None:
    assert set(_FALLBACKS) == set(FallbackReason) == set(_EXPLAINED)
