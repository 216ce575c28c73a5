"""The table in `rules` of what may have become of a code says what the functions below it do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from service.challenges import rules
from service.storage.rows import SessionRow

TEXT = Path(rules.__file__).read_text("utf-8").partition("# Of a code before its end")[2]
NAMES, *ROWS = (
    re.split(r" {2,}", line.lstrip("# ").strip())
    for line in TEXT.partition("# What")[0].splitlines()[1:]
    if line.strip("# ")
)
STATES = {
    "queued": {"dispatch_state": "queued"},
    "sending": {"dispatch_state": "sending"},
    "sent": {"dispatch_state": "sent", "code_sent": True},
    "dead or expired, a try unknown": {"dispatch_state": "dead", "code_unknown": True},
    "dead or expired, none unknown": {"dispatch_state": "expired"},
}
_ROW = SessionRow(*[None] * len(SessionRow._fields))._replace(  # type: ignore[arg-type]
    state="open", now=1, expires_at=9, code_expires_at=5, wrong_code=0, wrong_total=0,
    code_sent=False, code_unknown=False,
)  # fmt: skip


@pytest.mark.parametrize("said", ROWS, ids=lambda said: str(said[0]))
def test_a_row_of_the_table(said: list[str]) -> None:
    state, *cells = said
    row = _ROW._replace(**STATES[state])
    found = [getattr(rules, name)(row) for name in NAMES]
    assert found == [cell == "yes" for cell in cells]


@pytest.mark.parametrize(
    "change", [{"challenge_state": "waived"}, {"wrong_code": 5}, {"now": 5}, {"state": "completed"}]
)
def test_a_code_that_nobody_can_answer_with_is_not_told_of(change: dict[str, object]) -> None:
    sent = _ROW._replace(dispatch_state="sent", code_sent=True)
    assert rules.has_sent_code(sent)
    assert not rules.has_sent_code(sent._replace(**change))  # type: ignore[arg-type]


def test_every_state_has_its_row() -> None:
    assert [said[0] for said in ROWS] == list(STATES)
    assert len(NAMES) == 4
